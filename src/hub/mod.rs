//! Who hears what: topics, publications, frames, the ledger, the outbox.
