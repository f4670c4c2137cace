//! DWCP rdma.
