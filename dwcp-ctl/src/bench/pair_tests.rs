//! Benches over a pair of endpoints in memory.

use std::sync::Arc;

use dwcp_core::{Endpoint, Session};

use super::limits::PlanError;
use super::*;
use crate::service::{Offer, ServiceError, Services};

async fn served_pair() -> (Session, Endpoint, Endpoint) {
    let (a, b) = Endpoint::pair();
    let session = a.connect("b").await.unwrap();
    let far = b.accept().await.unwrap();
    tokio::spawn(Arc::new(Services::new(Offer::default())).serve(far));
    (session, a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_throughput_bench_arrives_once_in_order() {
    let (session, _a, _b) = served_pair().await;
    for direction in [Direction::Send, Direction::Receive] {
        for size in [64, 1 << 10, 20 << 10, 200 << 10] {
            let plan =
                ThroughputPlan { direction, size, duration_ms: 200, cuts: 0, blocking: false };
            let report = throughput(&session, &plan).await.unwrap();
            assert!(report.order.is_perfect(), "{direction:?} {size}: {:?}", report.order);
            assert_eq!(report.bytes, report.messages * size as u64);
            assert!(report.messages > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_latency_bench_counts_each_round_trip() {
    let (session, _a, _b) = served_pair().await;
    for rate in [None, Some(1_000.0)] {
        let plan = LatencyPlan {
            size: 64,
            duration_ms: 200,
            warm_up_ms: 50,
            rate,
            cuts: 0,
            blocking: false,
        };
        let report = latency(&session, &plan).await.unwrap();
        assert!(report.order.is_perfect(), "{:?}", report.order);
        assert!(report.messages > 0 && report.latency_us.p50 > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_beyond_what_the_path_carries_ends_and_says_so() {
    let (session, _a, _b) = served_pair().await;
    let rate = Some(1e7);
    let plan = LatencyPlan {
        size: 64 << 10,
        duration_ms: 300,
        warm_up_ms: 50,
        rate,
        cuts: 0,
        blocking: false,
    };
    let running = latency(&session, &plan);
    let report = tokio::time::timeout(std::time::Duration::from_secs(120), running).await;
    let report = report.expect("it ends").unwrap();
    assert!(report.order.is_perfect(), "{:?}", report.order);
    assert!(report.messages > 0 && report.unsent > 0, "{report:?}");
}

#[tokio::test]
async fn a_plan_beyond_the_limits_is_refused_whoever_asks() {
    let (session, _a, _b) = served_pair().await;
    let plan = LatencyPlan {
        size: 64,
        duration_ms: 0,
        warm_up_ms: 0,
        rate: None,
        cuts: 0,
        blocking: false,
    };
    let refused = latency(&session, &plan).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Plan(PlanError::Short)), "{refused}");
    // Memory for such a message is not even asked for.
    let (direction, size) = (Direction::Send, usize::MAX);
    let plan = ThroughputPlan { direction, size, duration_ms: 1, cuts: 0, blocking: false };
    let refused = throughput(&session, &plan).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Plan(PlanError::Size)), "{refused}");
}
