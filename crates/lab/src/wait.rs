//! Waiting for a condition, the only way a test may wait.
//!
//! A sleep long enough for a busy machine is too long for an idle one; a condition is right on both. The error
//! says what never happened, so a failed test reads as a sentence.

use std::future::Future;
use std::time::Duration;

/// Time between two looks at the condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {within:?} in vain for: {what}")]
pub struct WaitError {
    /// What was waited for, in the caller's words.
    pub what: String,
    /// How long.
    pub within: Duration,
}

/// Looks at `condition` every 5 ms until it is true.
///
/// It is looked at once even when `within` is zero, and a condition that itself hangs is cut at the deadline.
///
/// # Errors
/// [`WaitError`] with `what` once `within` is over.
pub async fn wait_until<F, Fut>(
    what: &str,
    within: Duration,
    mut condition: F,
) -> Result<(), WaitError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let looking = async {
        while !condition().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, looking)
        .await
        .map_err(|_| WaitError {
            what: what.to_owned(),
            within,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let waited = wait_until("three looks", Duration::from_secs(1), || {
            looks += 1;
            let enough = looks == 3;
            async move { enough }
        });
        waited.await.unwrap();
        assert_eq!(looks, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_never_happened() {
        let error = wait_until("the tide", Duration::from_secs(1), || async { false });
        let text = error.await.unwrap_err().to_string();
        assert_eq!(text, "waited 1s in vain for: the tide");
    }

    #[tokio::test(start_paused = true)]
    async fn cuts_a_condition_that_hangs() {
        let waited = wait_until("an answer", Duration::from_secs(1), std::future::pending);
        assert!(waited.await.is_err());
    }
}
