//! The requests that the API answers. docs/openapi.json describes them, and a
//! test holds it to this table.

use hyper::Method;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Metrics,
    Live,
    Ready,
    Report,
    Incidents,
    Config,
    Drain,
    Pools,
    Mode,
    ExpensiveCap,
    RescueAfter,
    Queues,
    Routes,
    Rules,
}

impl Ask {
    /// Whether a supervisor asks so, who acts when there is no answer.
    pub fn is_of_health(self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }

    /// Whether a file is read, which may take long.
    pub fn is_of_files(self) -> bool {
        matches!(self, Self::Routes | Self::Rules)
    }

    /// The last part of its path.
    pub fn name(self) -> &'static str {
        let route = ROUTES.iter().find(|route| route.ask == self);
        route.map_or("", |route| route.path.trim_start_matches('/'))
    }
}

struct Route {
    path: &'static str,
    method: Method,
    ask: Ask,
}

const ROUTES: [Route; 14] = [
    Route { path: "/metrics", method: Method::GET, ask: Ask::Metrics },
    Route { path: "/livez", method: Method::GET, ask: Ask::Live },
    Route { path: "/readyz", method: Method::GET, ask: Ask::Ready },
    Route { path: "/report", method: Method::GET, ask: Ask::Report },
    Route { path: "/incidents", method: Method::GET, ask: Ask::Incidents },
    Route { path: "/config", method: Method::GET, ask: Ask::Config },
    Route { path: "/drain", method: Method::POST, ask: Ask::Drain },
    Route { path: "/pools", method: Method::POST, ask: Ask::Pools },
    Route { path: "/mode", method: Method::POST, ask: Ask::Mode },
    Route { path: "/expensive-cap", method: Method::POST, ask: Ask::ExpensiveCap },
    Route { path: "/rescue-after", method: Method::POST, ask: Ask::RescueAfter },
    Route { path: "/queues", method: Method::POST, ask: Ask::Queues },
    Route { path: "/routes", method: Method::POST, ask: Ask::Routes },
    Route { path: "/rules", method: Method::POST, ask: Ask::Rules },
];

/// A request that has passed all checks that need no knowledge of the run.
#[derive(Clone, Debug)]
pub struct Request {
    pub ask: Ask,
    /// JSON; empty where none was sent.
    pub body: Vec<u8>,
    /// The client prefers OpenMetrics to Prometheus's older text format.
    pub wants_open_metrics: bool,
}

/// No route has the path, or the path has no such method.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    Path,
    Method { allowed: Method },
}

pub(super) fn find(method: &Method, path: &str) -> Result<Ask, NoRoute> {
    let route = ROUTES.iter().find(|route| route.path == path).ok_or(NoRoute::Path)?;
    match route.method == *method {
        true => Ok(route.ask),
        false => Err(NoRoute::Method { allowed: route.method.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_exact() {
        assert_eq!(find(&Method::GET, "/livez"), Ok(Ask::Live));
        assert_eq!(find(&Method::POST, "/drain"), Ok(Ask::Drain));
        assert_eq!(find(&Method::GET, "/drain"), Err(NoRoute::Method { allowed: Method::POST }));
        for path in ["", "/", "/livez/", "//livez", "/LIVEZ", "/livez/../drain", "/%6civez"] {
            assert_eq!(find(&Method::GET, path), Err(NoRoute::Path), "{path}");
        }
    }

    #[test]
    fn the_description_names_these_routes_and_no_others() {
        let text = include_str!("../../../docs/openapi.json");
        let described: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        let paths = described["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), ROUTES.len());
        for route in &ROUTES {
            let methods = paths[route.path].as_object().expect("an object of methods");
            let method = route.method.as_str().to_lowercase();
            assert_eq!(methods.keys().collect::<Vec<_>>(), [&method], "{}", route.path);
        }
    }
}
