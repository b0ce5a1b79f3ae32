//! Generations within one process: what is prepared and activated, and what is gone back to.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::Bundle;
use tidegate_control::{Author, Cause, Keeping, NoGeneration, Origin, Source, Verdict, Why};

use crate::support::{Site, config};

fn bundle(site: &Site, text: &str) -> Source {
    Source::Bundle(Arc::new(Bundle::of(site.path(), text)))
}

#[tokio::test]
async fn what_is_prepared_serves_nothing_until_it_is_activated() {
    let site = Site::new(&config("5s"));
    let bad = site.reloader.prepare(bundle(&site, &config("5"))).await;
    assert!(bad.unwrap_err().errors() > 0);
    let loaded = site.reloader.prepare(bundle(&site, &config("7s"))).await;
    assert_eq!(site.timeout(), Duration::from_secs(5));
    let author = Author::new(Some(b"ann"), Some(b"tried")).unwrap();
    let origin = Origin::by(Cause::Candidate, author);
    let outcome = site.reloader.activate(loaded.unwrap(), origin).await;
    assert!(outcome.took_effect(), "{outcome}");
    assert_eq!(outcome.kept, Some(Keeping::Memory));
    assert_eq!(
        (site.generation(), site.timeout()),
        (2, Duration::from_secs(7))
    );
    let generations = site.reloader.generations();
    let entry = generations.serving().unwrap();
    assert_eq!(
        (&*entry.origin.who, entry.origin.cause),
        ("ann", Cause::Candidate)
    );
    assert_eq!(generations.instead().unwrap().why, Why::Activated);

    // The file is left while it says what it said, unless somebody asks.
    site.write(&format!("# touched\n{}", config("5s")));
    let outcome = site.reloader.reload(Cause::File).await;
    assert!(
        matches!(outcome.verdict, Verdict::Withheld { generation: 2, .. }),
        "{outcome}"
    );
    assert!(!outcome.took_effect());
    let outcome = site.reloader.reload(Cause::Signal).await;
    assert!(outcome.took_effect(), "{outcome}");
    assert_eq!(
        (site.generation(), site.timeout()),
        (3, Duration::from_secs(5))
    );
    assert_eq!(generations.instead(), None);
}

#[tokio::test]
async fn going_back_twice_goes_back_twice() {
    let site = Site::new(&config("1s"));
    for timeout in ["2s", "3s"] {
        site.write(&config(timeout));
        site.reloader.reload(Cause::Api).await;
    }
    let back = async |to| site.reloader.rollback(to, Cause::Rollback).await;
    let outcome = back(None).await.unwrap();
    let restored = outcome.restored.unwrap();
    assert_eq!((restored.generation, restored.differs), (2, false));
    assert_eq!(
        (site.generation(), site.timeout()),
        (4, Duration::from_secs(2))
    );
    back(None).await.unwrap();
    assert_eq!(
        (site.generation(), site.timeout()),
        (5, Duration::from_secs(1))
    );
    assert!(matches!(
        back(None).await,
        Err(NoGeneration::NothingBefore(5))
    ));
    assert!(matches!(
        back(Some(9)).await,
        Err(NoGeneration::Unknown { number: 9, .. })
    ));
    let again = back(Some(1)).await.unwrap();
    assert!(
        matches!(again.verdict, Verdict::Unchanged { generation: 5, .. }),
        "{again}"
    );
    let rollbacks = "tidegate_rollbacks_total{why=\"operator\"} 2";
    assert!(site.has_metric(rollbacks));
}

/// What only a restart changes cannot be gone back to, and says what that is.
#[tokio::test]
async fn a_rollback_is_judged_like_a_reload() {
    let site = Site::new(&config("1s"));
    let other = config("2s").replace("127.0.0.1:0", "127.0.0.1:1");
    let loaded = site.reloader.prepare(bundle(&site, &other)).await.unwrap();
    let outcome = site.reloader.activate(loaded, Cause::Candidate).await;
    let Verdict::RestartNeeded { fields } = &outcome.verdict else {
        panic!("{outcome}")
    };
    assert_eq!(fields, &["listeners.http.bind"]);
    assert_eq!((site.generation(), outcome.kept.clone()), (1, None));
}

/// What watches over generation 2 may have made up its mind while generation 3 was being read.
#[tokio::test]
async fn what_is_to_be_left_is_left_only_while_it_serves() {
    let site = Site::new(&config("1s"));
    for timeout in ["2s", "3s"] {
        site.write(&config(timeout));
        site.reloader.reload(Cause::Api).await;
    }
    let leave = async |from| {
        let left = site.reloader.leave(from, Some(1), Cause::AutomaticRollback);
        left.await.unwrap()
    };
    let outcome = leave(2).await;
    assert!(
        matches!(outcome.verdict, Verdict::Refused { .. }),
        "{outcome}"
    );
    assert_eq!(site.timeout(), Duration::from_secs(3));
    assert_eq!(site.reloader.generations().serving().unwrap().fate, None);
    assert!(leave(3).await.took_effect());
    assert_eq!(site.timeout(), Duration::from_secs(1));
}

/// Whoever comes at once is served one after the other, and the books agree with what serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_and_rollbacks_at_once_leave_one_truth() {
    let site = Site::new(&config("1s"));
    for timeout in ["2s", "3s"] {
        site.write(&config(timeout));
        site.reloader.reload(Cause::Api).await;
    }
    for round in 0..5_u64 {
        site.write(&config(&format!("{}s", 4 + round)));
        let serving = site.generation();
        let reloads = async {
            tokio::join!(
                site.reloader.reload(Cause::Api),
                site.reloader.reload(Cause::File)
            )
        };
        let backs = async {
            tokio::join!(
                site.reloader.rollback(None, Cause::Rollback),
                site.reloader
                    .leave(serving, Some(1), Cause::AutomaticRollback),
            )
        };
        let (_, (asked, itself)) = tokio::join!(reloads, backs);
        // The process leaves the plan that it judged, or none.
        match asked {
            Ok(asked) => assert!(asked.verdict.serves(), "{asked}"),
            Err(none) => assert!(matches!(none, NoGeneration::NothingBefore(_)), "{none}"),
        }
        let itself = itself.unwrap();
        if let Verdict::Activated { .. } = itself.verdict {
            let left = site.reloader.generations().entries();
            let left = left.iter().find(|entry| entry.number == serving).unwrap();
            assert!(left.fate.is_some(), "{left:?}");
        }
        let entry = site.reloader.generations().serving().unwrap();
        assert_eq!(entry.number, site.generation());
        assert_eq!(site.reloader.document().generation, site.generation());
        assert_eq!(site.reloader.document().hash, entry.hash);
    }
}
