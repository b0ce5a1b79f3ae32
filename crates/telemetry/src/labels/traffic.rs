//! What became of copies, of bonds between clients and places, and of regions that are started.

use super::Label;

labels! {
    /// What became of the copy of a request for another upstream.
    MirrorResult {
        /// It was sent, and an answer came, of whatever status.
        Sent = "sent",
        /// No place could take it, or no answer came in time.
        Failed = "failed",
        /// It was not sent: its body is too long, or was not read whole, or was no longer kept.
        SkippedBody = "skipped_body",
        /// It was not sent: as many were under way as may be.
        SkippedBusy = "skipped_busy",
    }
}

labels! {
    /// What affinity did for an answered request.
    AffinityResult {
        /// The place that the client is bound to served it.
        Kept = "kept",
        /// The client was bound for the first time.
        Set = "set",
        /// The client brought a cookie that is not valid, and was bound as if it had brought none.
        Invalid = "invalid",
        /// Its place was gone, and it was bound to another one.
        Rebound = "rebound",
        /// Another place served it, and it stays bound to its own.
        Temporary = "temporary",
        /// Its place was gone, and the request failed because of that.
        Lost = "lost",
    }
}

labels! {
    /// How the start of a cold region ended.
    StartResult {
        /// What was to be done was done; whether the region comes up is for its health to tell.
        Started = "started",
        /// It failed: another exit code than 0, another status than 2xx, or nothing to run or ask.
        Failed = "failed",
        /// It was given up because it took too long.
        Timeout = "timeout",
    }
}
