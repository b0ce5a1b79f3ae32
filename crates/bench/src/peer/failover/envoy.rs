//! Envoy for region failover: one cluster, a priority a region.
//!
//! By its documentation: "How do I make Envoy fail over to another region" (priorities), "Priority
//! levels" (overprovisioning factor as it is, panic threshold off), "Outlier detection" (failure
//! percentage for what fails only at times; a green active check does not take an outlier back; local
//! and external origin are not split: tried both ways, a black hole that still accepts connections
//! resets the split's count of consecutive failures and costs a second), `config.core.v3.HealthCheck`
//! (quick unhealthy intervals), "HTTP retry plugins" (a retry goes to another priority and another
//! host), `config.cluster.v3.Cluster` (`close_connections_on_host_health_failure`, slow start).
//! Circuit breakers are raised out of reach; by default three retries at a time would be all.

use super::Regions;
use crate::peer::envoy::address;
use crate::peer::site::{Site, lines};

/// For tables.
pub(super) const KNOBS: &str = "a priority a region, panic threshold 0; checks every 1 s, 0.25 s \
    while unhealthy, thresholds 2; outlier detection, 5 consecutive or 25 % in 1 s, \
    max_ejection_percent 100; close_connections_on_host_health_failure; slow start 30 s; 3 retries \
    (previous_priorities, previous_hosts) on 5xx and resets, per_try_timeout 1 s, connect 0.5 s; \
    POST retried only before it was sent; circuit breakers out of reach";

/// The buffer filter: "shields the upstream from having to deal with partial requests".
const BUFFER: &str = "          - name: envoy.filters.http.buffer
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
              max_request_bytes: 1048576
";

/// The configuration.
pub(super) fn configuration(site: &Site, regions: &Regions) -> String {
    format!(
        "node: {{ id: bench, cluster: bench }}
static_resources:
  listeners:
  - name: http
    address: {}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          use_remote_address: true
{}          http_filters:
{}          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
{}",
        address(site.http),
        routes(regions.demands.try_s),
        if regions.demands.uploads { BUFFER } else { "" },
        cluster(regions)
    )
}

fn routes(try_s: u64) -> String {
    format!(
        "          route_config:
            name: shop
            virtual_hosts:
            - name: shop
              domains: [\"*\"]
              routes:
              - match: {{ prefix: /, headers: [{{ name: \":method\", string_match: {{ exact: POST }} }}] }}
{}
              - match: {{ prefix: / }}
{}
",
        route("connect-failure,refused-stream,reset-before-request", try_s),
        route("5xx,reset,connect-failure,refused-stream", try_s)
    )
}

fn route(retry_on: &str, try_s: u64) -> String {
    format!(
        "                route:
                  cluster: shop
                  timeout: 15s
                  retry_policy:
                    retry_on: {retry_on}
                    num_retries: 3
                    per_try_timeout: {try_s}s
                    retry_back_off: {{ base_interval: 0.005s, max_interval: 0.05s }}
                    host_selection_retry_max_attempts: 5
                    retry_priority:
                      name: envoy.retry_priorities.previous_priorities
                      typed_config:
                        \"@type\": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig
                        update_frequency: 1
                    retry_host_predicate:
                    - name: envoy.retry_host_predicates.previous_hosts
                      typed_config:
                        \"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    )
}

fn cluster(regions: &Regions) -> String {
    let endpoints = lines(regions.all.iter(), |place, (_, to)| {
        let to = to
            .iter()
            .map(|to| format!("{{ endpoint: {{ address: {} }} }}", address(*to)));
        let to: Vec<_> = to.collect();
        format!(
            "      - {{ priority: {place}, lb_endpoints: [{}] }}",
            to.join(", ")
        )
    });
    format!(
        "  - name: shop
    type: STATIC
    connect_timeout: 0.5s
    lb_policy: ROUND_ROBIN
    round_robin_lb_config: {{ slow_start_config: {{ slow_start_window: 30s }} }}
    common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }} }}
    close_connections_on_host_health_failure: true
    circuit_breakers:
      thresholds: [{{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000, \
         max_retries: 100000 }}]
    health_checks:
    - timeout: 1s
      interval: 1s
      no_traffic_interval: 1s
      unhealthy_interval: 0.25s
      unhealthy_edge_interval: 0.25s
      healthy_edge_interval: 0.25s
      unhealthy_threshold: 2
      healthy_threshold: 2
      reuse_connection: false
      http_health_check: {{ path: /healthz }}
    outlier_detection:
      consecutive_5xx: 5
      consecutive_gateway_failure: 5
      enforcing_consecutive_gateway_failure: 100
      interval: 1s
      base_ejection_time: 30s
      max_ejection_percent: 100
      failure_percentage_threshold: 25
      enforcing_failure_percentage: 100
      failure_percentage_minimum_hosts: 1
      failure_percentage_request_volume: 20
      successful_active_health_check_uneject_host: false
    load_assignment:
      cluster_name: shop
      endpoints:
{endpoints}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::regions;
    use super::*;
    use crate::peer::Shape;
    use crate::peer::site::tests::site;

    #[test]
    fn a_region_is_a_priority() {
        let text = configuration(&site(Shape::default()), &regions(2));
        for place in 0..3 {
            let priority = format!("priority: {place},");
            assert_eq!(text.matches(&priority).count(), 1, "{text}");
        }
    }
}
