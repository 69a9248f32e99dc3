//! # manual: the pages that are about more than one file
//!
//! Each page is a Markdown file beside this one, compiled as the documentation of an empty module,
//! so that its links are checked with those of the code. `failure`, `configuration` and `metrics`
//! are generated from tables in the code; `tests/manual.rs` fails when one of them is out of
//! step, and `UPDATE_PAGES=1 cargo test --test manual` writes them anew.
//!
//! Owns: nothing at run time.
//! Imports: nothing.
//!
//! Holds at all times: what a page says is so at the commit that holds it; what is planned is no
//! part of it.
//!
//! Read first: [`architecture`].

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

#[doc = include_str!("gateway.md")]
pub mod gateway {}

#[doc = include_str!("webhooks.md")]
pub mod webhooks {}
#[doc = include_str!("verbs.md")]
pub mod verbs {}
#[doc = include_str!("rabbitmq.md")]
pub mod rabbitmq {}
#[doc = include_str!("tokens.md")]
pub mod tokens {}

#[doc = include_str!("recovery.md")]
pub mod recovery {}
#[doc = include_str!("proxy.md")]
pub mod proxy {}
#[doc = include_str!("faults.md")]
pub mod faults {}
#[doc = include_str!("security.md")]
pub mod security {}
#[doc = include_str!("tls.md")]
pub mod tls {}
#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("failure.md")]
pub mod failure {}

#[doc = include_str!("configuration.md")]
pub mod configuration {}

#[doc = include_str!("metrics.md")]
pub mod metrics {}

#[doc = include_str!("testing.md")]
pub mod testing {}
#[doc = include_str!("report.md")]
pub mod report {}

#[doc = include_str!("changelog.md")]
pub mod changelog {}
