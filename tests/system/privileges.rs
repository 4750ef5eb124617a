//! Least privilege, tried out: every user of the broker and every role of Postgres tries everything that is there, what
//! is its own and what is not. What may be done follows from who owns what, and not from the grants.

mod attempt;
mod broker;
mod database;
