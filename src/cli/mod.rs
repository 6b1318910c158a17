//! The verbs: arguments in, an exit code out.
//!
//! Exit codes: 0 done, 1 could not, 2 usage, 70 the daemon ended early, 77 no permission, 78 the configuration is wrong.
