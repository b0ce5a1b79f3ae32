//! The process that serves: its parts, the order in which they start, and the order in which they
//! end.
//!
//! The data plane has threads of its own; everything else (admin, probes, watching, signals) lives
//! on a small runtime beside it, so that none of it can delay a request. The plan serves before the
//! listeners open, and the listeners close before anything that they depend on does.

mod addresses;
mod certificates;
mod files;
mod life;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tidegate_config::Report;
use tidegate_control::{
    Admin, AdminOptions, Candidates, Deadlines, Launch, Opened, Proof, Readiness, Reloader, Shared,
    Signals, Starter, State, Vigil, Watcher,
};
use tidegate_core::settings::Settings;
use tidegate_health::Prober;
use tidegate_proxy::{Proxy, ProxyOptions, Running, StartError};
use tidegate_telemetry::AccessLog;
use tidegate_telemetry::tracing_setup::LogFormat;
use tokio::runtime::{Builder, Runtime};

use crate::exit::{Exit, Failure};
use crate::terminal;
use certificates::Listeners;

/// Threads of the runtime beside the data plane.
const CONTROL_THREADS: usize = 2;

/// What the command line says.
pub(crate) struct ServeOptions {
    pub(crate) launch: Launch,
    /// Where to write the real addresses.
    pub(crate) addresses: Option<PathBuf>,
    pub(crate) log: LogFormat,
}

/// Everything that runs, in the order of the fields' start. Dropping it ends it.
struct Process {
    settings: Settings,
    shared: Shared,
    reloader: Arc<Reloader>,
    readiness: Arc<Readiness>,
    access: AccessLog,
    proxy: Running,
    _prober: Prober,
    _deadlines: Deadlines,
    _starter: Starter,
    _vigil: Vigil,
    _proof: Proof,
    admin: Option<Admin>,
    _watcher: Option<Watcher>,
}

/// Serves until a signal ends it.
pub(crate) fn serve(options: &ServeOptions) -> Result<Exit, Failure> {
    let started = Instant::now();
    files::raise_limit();
    let shared = Shared::new(started);
    let opened = Reloader::open(options.launch.clone(), shared.clone());
    let opened = opened.map_err(|report| terminal::refused(&report))?;
    warn(&opened.warnings, options.log);
    control_runtime()?.block_on(async {
        let signals = Signals::install().map_err(Failure::no)?;
        let process = Process::start(opened, shared, started).await?;
        process.announce(options)?;
        process.live(signals).await;
        Ok(Exit::Fine)
    })
}

/// Shows what somebody should look at, in the form of the other diagnostics.
fn warn(warnings: &Report, log: LogFormat) {
    match log {
        LogFormat::Text => terminal::show(warnings),
        LogFormat::Json => warnings.problems.iter().for_each(|problem| {
            tracing::warn!(
                code = problem.code,
                path = problem.path,
                "{}",
                problem.message
            );
        }),
    }
}

/// The runtime for everything but the data plane.
pub(crate) fn control_runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("tidegate-ctl")
        .enable_all()
        .build();
    runtime.map_err(|error| Failure::no(format!("cannot start the control threads: {error}")))
}

impl Process {
    async fn start(opened: Opened, shared: Shared, started: Instant) -> Result<Self, Failure> {
        let Opened {
            reloader, settings, ..
        } = opened;
        let access = AccessLog::start(&settings.access_log, shared.metrics.clone());
        let access = access.map_err(Failure::no)?;
        let proxy = start_proxy(&settings, &shared, &access)?;
        reloader.set_certificates(Arc::new(Listeners(proxy.certificates())));
        let readiness = Arc::new(Readiness::default());
        readiness.set(State::Accepting);
        let prober = start_prober(&shared);
        let deadlines = Deadlines::start(shared.clone());
        let starter = Starter::start(shared.clone());
        let admin = match settings.admin {
            None => None,
            Some(bind) => Some(
                Admin::start(AdminOptions {
                    bind,
                    shared: shared.clone(),
                    reloader: reloader.clone(),
                    candidates: Candidates::new(
                        shared.clone(),
                        reloader.clone(),
                        Arc::new(traffic::Shown(proxy.tap())),
                    ),
                    readiness: readiness.clone(),
                    listeners: proxy.addresses().to_vec(),
                    started,
                    version: env!("CARGO_PKG_VERSION"),
                })
                .await
                .map_err(Failure::no)?,
            ),
        };
        Ok(Self {
            _watcher: watch(&reloader),
            _proof: Proof::start(reloader.clone()),
            _vigil: Vigil::start(reloader.clone(), shared.clone()),
            settings,
            shared,
            reloader,
            readiness,
            access,
            proxy,
            _prober: prober,
            _deadlines: deadlines,
            _starter: starter,
            admin,
        })
    }

    /// Says where it listens.
    fn announce(&self, options: &ServeOptions) -> Result<(), Failure> {
        let admin = self.admin.as_ref().map(Admin::address);
        let listeners = self.proxy.addresses();
        addresses::tell(listeners, admin, options.log);
        match &options.addresses {
            Some(path) => write_addresses(path, listeners, admin),
            None => Ok(()),
        }
    }
}

fn write_addresses(
    path: &Path,
    listeners: &[(String, std::net::SocketAddr)],
    admin: Option<std::net::SocketAddr>,
) -> Result<(), Failure> {
    addresses::write(path, listeners, admin).map_err(|error| {
        let message = format!("cannot write the addresses to {}: {error}", path.display());
        Failure::no(message)
    })
}

fn start_proxy(
    settings: &Settings,
    shared: &Shared,
    access: &AccessLog,
) -> Result<Running, Failure> {
    let running = Proxy::start(ProxyOptions {
        listeners: settings.listeners.clone(),
        threads: settings.threads,
        plan: shared.plan.clone(),
        news: shared.board.news().clone(),
        metrics: shared.metrics.clone(),
        records: shared.records.clone(),
        access: access.clone(),
    });
    running.map_err(|error| match &error {
        StartError::Bind { .. } => {
            Failure::no(error).hint("does another process listen there? port 0 takes any free port")
        }
        _ => Failure::no(error),
    })
}

/// Probes on the runtime that calls it.
pub(crate) fn start_prober(shared: &Shared) -> Prober {
    Prober::start(
        shared.plan.clone(),
        shared.metrics.clone(),
        shared.events.clone(),
    )
}

/// Without a watch everything else still works, so its failure only warns.
fn watch(reloader: &Arc<Reloader>) -> Option<Watcher> {
    Watcher::start(reloader.clone())
        .inspect_err(|error| tracing::warn!("{error}"))
        .ok()
}
