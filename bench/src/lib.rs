//! Experiments that compare stentor with a floor and with its peers, in one run.
