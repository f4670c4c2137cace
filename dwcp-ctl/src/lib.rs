//! Shared parts of `dwcpd` and `dwcp-ctl`.
