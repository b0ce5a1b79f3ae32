//! The index over a plan's routes.

mod label;

use std::cmp::Reverse;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use super::path::{Place, Step, is_named, split_bytes};
use super::{HostKey, PathMatch, Pattern, RequestFacts, RouteMatch, by_rank};
use crate::ids::RouteIdx;

use label::Label;

/// Longest host name (RFC 1035 section 2.3.4). A longer one matches only routes for any host.
const HOST_MAX: usize = 253;

/// Parent of all exact hosts.
const EXACT: u32 = 0;
/// Parent of all wildcard suffixes.
const BELOW: u32 = 1;
/// Root of the paths of routes for any host.
const ANY: u32 = 2;

/// The index over a plan's routes.
///
/// One table of edges holds the hosts and, below each, the trie of its paths: (node, label) ->
/// node. It is built once and only from the configuration, so that a client can choose what is
/// looked up but not make two look-ups collide. Hosts whose routes have names or regular expressions
/// are known apart: all others are searched as if there were none.
///
/// With thousands of routes it is memory that a look-up waits for. So the table holds nothing but the
/// numbers of nodes, which is little enough to stay near the core, and all that is to be known of a node
/// lies on one cache line.
pub struct RouteTable {
    /// The conditions of routes that have some beside host and path.
    conditions: Box<[Option<Box<RouteMatch>>]>,
    /// One bit a route: whether it has conditions.
    conditional: Box<[u64]>,
    nodes: Vec<Node>,
    /// The nodes below another one.
    edges: HashTable<u32>,
    /// The routes of the nodes at which several of one kind end.
    shared: Vec<RouteIdx>,
    /// Lengths of the shortest and the longest wildcard suffix.
    suffix_lengths: (usize, usize),
    /// The regular expressions of hosts that have names or regular expressions in their paths, by
    /// the root of their paths.
    patterned: HashMap<u32, Vec<Found>, FixedState>,
}

/// A place where routes end, and the step that leads there.
#[repr(align(64))]
struct Node {
    /// Which node the step begins at.
    parent: u32,
    /// The next node above with a prefix route.
    above: Option<NonZeroU32>,
    /// Where any segment that is not empty leads.
    any: Option<NonZeroU32>,
    /// Routes for the steps that lead here.
    exact: Places,
    /// Routes for these and everything below.
    prefix: Places,
    /// Whether a label leads anywhere from here.
    has_children: bool,
    /// What the step reads; empty for one that takes any segment.
    label: Label,
}

/// The routes of one kind at one node, in order of rank.
#[derive(Clone, Copy)]
struct Places {
    count: u32,
    /// The only one; of several, where they begin among those that are shared.
    first: RouteIdx,
}

/// How the routes of a node are matched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Exact,
    Prefix,
}

/// A route at its node. The order is that of nodes, and of rank within each.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ending {
    node: u32,
    kind: Kind,
    conditions: Reverse<usize>,
    route: RouteIdx,
}

/// A regular expression, and its routes in order of rank.
struct Found {
    pattern: Arc<Pattern>,
    routes: SmallVec<[RouteIdx; 2]>,
}

/// Nodes that are to be looked at, each with what is left of the path; the last one first.
type Ways<'p> = SmallVec<[(u32, &'p [u8]); 16]>;

/// What is to be looked at for prefixes.
enum Way<'p> {
    /// The routes of a node itself, once everything below it has failed.
    Here(u32),
    /// A node, with what is left of the path.
    Down(u32, &'p [u8]),
}

impl RouteTable {
    /// Builds the index; the position in `routes` is the [`RouteIdx`].
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a RouteMatch>) -> Self {
        let routes: Vec<&RouteMatch> = routes.into_iter().collect();
        let mut table = Self::default();
        let indices = (0..).map(RouteIdx).zip(&routes);
        let endings = indices.filter_map(|(index, route)| table.insert(index, route));
        let endings = endings.collect();
        table.settle(endings);
        for found in table.patterned.values_mut().flatten() {
            by_rank(&routes, &mut found.routes);
        }
        table.conditional = conditional(&routes);
        let conditions =
            |route: &RouteMatch| (route.conditions() > 0).then(|| route.clone().into());
        table.conditions = routes.into_iter().map(conditions).collect();
        table.link();
        table.nodes.shrink_to_fit();
        table
    }

    /// The route for a request, if any matches. Allocates nothing, but for what a regular expression
    /// needs when a thread searches it for the first time. Case and dots at the end of the host make
    /// no difference.
    pub fn find(&self, request: &impl RequestFacts) -> Option<RouteIdx> {
        let mut buffer = [0; HOST_MAX];
        let host = lower_case(request.host(), &mut buffer);
        let path = request.path_bytes();
        self.exact_host(host)
            .and_then(|root| self.find_path(root, path, request))
            .or_else(|| {
                self.wildcards(host)
                    .find_map(|root| self.find_path(root, path, request))
            })
            .or_else(|| self.find_path(ANY, path, request))
    }

    /// Bytes that it takes, estimated; what its conditions share with the routes is the routes'.
    pub(crate) fn bytes(&self) -> usize {
        let labels = self.nodes.iter().map(|node| node.label.heap_bytes());
        let conditions = self.conditions.iter().flatten();
        self.nodes.capacity() * size_of::<Node>()
            + self.edges.allocation_size()
            + labels.sum::<usize>()
            + self.shared.capacity() * size_of::<RouteIdx>()
            + size_of_val(&*self.conditions)
            + conditions
                .map(|one| size_of_val(&**one) + one.heap_bytes())
                .sum::<usize>()
            + size_of_val(&*self.conditional)
            + self.patterned.allocation_size()
    }

    fn exact_host(&self, host: &str) -> Option<u32> {
        if host.is_empty() {
            None
        } else {
            self.child(EXACT, host.as_bytes())
        }
    }

    /// The roots of the wildcards above `host`, longest first.
    fn wildcards<'a>(&'a self, host: &'a str) -> impl Iterator<Item = u32> + 'a {
        let (shortest, longest) = self.suffix_lengths;
        let bytes = host.as_bytes();
        let from = host.len().saturating_sub(longest).max(2);
        let to = (host.len() + 1).saturating_sub(shortest);
        (from..to)
            .filter(move |&at| bytes[at - 1] == b'.')
            .filter_map(move |at| self.child(BELOW, bytes.get(at..)?))
    }

    /// Goes down as far as the path leads, then up through the prefixes.
    fn find_path(&self, root: u32, path: &[u8], request: &impl RequestFacts) -> Option<RouteIdx> {
        let (mut node, mut rest) = (root, path);
        while let Some((segment, after)) = split_bytes(rest) {
            let Some(child) = self.child(node, segment) else {
                break;
            };
            (node, rest) = (child, after);
        }
        let exact = if rest.is_empty() {
            self.first(self.exact(node), request)
        } else {
            None
        };
        exact.or_else(|| match self.patterned.get(&root) {
            Some(found) => self.find_pattern(root, path, found, request),
            None => std::iter::successors(Some(node), |&node| self.above(node))
                .find_map(|node| self.first(self.prefix(node), request)),
        })
    }

    /// The same below a root with names or regular expressions, where no exact path was found.
    fn find_pattern(
        &self,
        root: u32,
        path: &[u8],
        found: &[Found],
        request: &impl RequestFacts,
    ) -> Option<RouteIdx> {
        let search = |found: &Found| {
            let is = found.pattern.is_match(path);
            is.then(|| self.first(&found.routes, request)).flatten()
        };
        self.find_closed(root, path, request)
            .or_else(|| self.find_open(root, path, request))
            .or_else(|| found.iter().find_map(search))
            .or_else(|| self.first(self.prefix(root), request))
    }

    /// The routes whose steps are the whole path: at the first step at which two differ, the literal
    /// goes first.
    fn find_closed(&self, root: u32, path: &[u8], request: &impl RequestFacts) -> Option<RouteIdx> {
        let mut ways = Ways::from_iter([(root, path)]);
        while let Some((node, rest)) = ways.pop() {
            if rest.is_empty() {
                if let Some(route) = self.first(self.exact(node), request) {
                    return Some(route);
                }
            } else {
                self.step(node, rest, &mut ways);
            }
        }
        None
    }

    /// The routes whose steps begin the path, except those for any path: at the first step at which
    /// two differ, the literal goes first, then any segment, then the one that ends there.
    fn find_open(&self, root: u32, path: &[u8], request: &impl RequestFacts) -> Option<RouteIdx> {
        let mut ways: SmallVec<[Way<'_>; 16]> = SmallVec::new();
        let mut next = Ways::new();
        self.step(root, path, &mut next);
        ways.extend(next.drain(..).map(|(node, rest)| Way::Down(node, rest)));
        while let Some(way) = ways.pop() {
            match way {
                Way::Here(node) => {
                    if let Some(route) = self.first(self.prefix(node), request) {
                        return Some(route);
                    }
                }
                Way::Down(node, rest) => {
                    ways.push(Way::Here(node));
                    self.step(node, rest, &mut next);
                    ways.extend(next.drain(..).map(|(node, rest)| Way::Down(node, rest)));
                }
            }
        }
        None
    }

    /// Where a step from `node` may lead, the best last.
    fn step<'p>(&self, node: u32, path: &'p [u8], ways: &mut Ways<'p>) {
        let Some((segment, rest)) = split_bytes(path) else {
            return;
        };
        if is_named(segment)
            && let Some(any) = self.node(node).any
        {
            ways.push((any.get(), rest));
        }
        ways.extend(self.child(node, segment).map(|child| (child, rest)));
    }

    fn first(&self, routes: &[RouteIdx], request: &impl RequestFacts) -> Option<RouteIdx> {
        routes
            .iter()
            .copied()
            .find(|&route| !self.is_conditional(route) || self.conditions_hold(route, request))
    }

    fn conditions_hold(&self, route: RouteIdx, request: &impl RequestFacts) -> bool {
        let conditions = self.conditions[route.get()].as_ref();
        conditions.is_none_or(|conditions| conditions.conditions_hold(request))
    }

    fn is_conditional(&self, route: RouteIdx) -> bool {
        self.conditional[route.get() / 64] & 1 << (route.get() % 64) != 0
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn exact(&self, node: u32) -> &[RouteIdx] {
        self.routes(&self.node(node).exact)
    }

    fn prefix(&self, node: u32) -> &[RouteIdx] {
        self.routes(&self.node(node).prefix)
    }

    fn routes<'a>(&'a self, places: &'a Places) -> &'a [RouteIdx] {
        match places.count {
            0 => &[],
            1 => std::slice::from_ref(&places.first),
            count => &self.shared[places.first.get()..][..count as usize],
        }
    }

    fn above(&self, node: u32) -> Option<u32> {
        self.node(node).above.map(NonZeroU32::get)
    }

    fn child(&self, parent: u32, label: &[u8]) -> Option<u32> {
        if !self.node(parent).has_children {
            return None;
        }
        let is = |child: &u32| self.node(*child).is(parent, label);
        self.edges.find(hash(parent, label), is).copied()
    }

    /// Makes room for a route. Returns where it ends, unless it is found.
    fn insert(&mut self, route: RouteIdx, matches: &RouteMatch) -> Option<Ending> {
        let root = match matches.host_key() {
            HostKey::Exact(host) => self.child_or_new(EXACT, &host),
            HostKey::Below(suffix) => self.wildcard_or_new(&suffix),
            HostKey::Any => ANY,
        };
        let place = Place::of(matches.path.as_ref());
        if place.is_pattern() {
            self.patterned.entry(root).or_default();
        }
        let (steps, kind) = match (&place, &matches.path) {
            (Place::Closed(steps), _) => (steps, Kind::Exact),
            (Place::Open(steps), _) => (steps, Kind::Prefix),
            (Place::Found(_), Some(PathMatch::Regex(pattern))) => {
                self.found_or_new(root, pattern).routes.push(route);
                return None;
            }
            // Only a regular expression is found.
            (Place::Found(_), _) => return None,
        };
        Some(Ending {
            node: self.descend(root, steps),
            kind,
            conditions: Reverse(matches.conditions()),
            route,
        })
    }

    /// Enters every route at its node.
    fn settle(&mut self, mut endings: Vec<Ending>) {
        endings.sort_unstable();
        for group in endings.chunk_by(|a, b| (a.node, a.kind) == (b.node, b.kind)) {
            let places = self.places(group);
            let node = &mut self.nodes[group[0].node as usize];
            match group[0].kind {
                Kind::Exact => node.exact = places,
                Kind::Prefix => node.prefix = places,
            }
        }
        self.shared.shrink_to_fit();
    }

    fn places(&mut self, group: &[Ending]) -> Places {
        let first = match group {
            [only] => only.route,
            several => {
                let first = RouteIdx(self.shared.len() as u32);
                self.shared.extend(several.iter().map(|one| one.route));
                first
            }
        };
        Places {
            count: group.len() as u32,
            first,
        }
    }

    /// The entry of a pattern among those of its host, which are in the order of the routes.
    fn found_or_new(&mut self, root: u32, pattern: &Arc<Pattern>) -> &mut Found {
        let all = self.patterned.entry(root).or_default();
        let at = all.iter().position(|found| found.pattern == *pattern);
        let at = at.unwrap_or_else(|| {
            all.push(Found {
                pattern: pattern.clone(),
                routes: SmallVec::new(),
            });
            all.len() - 1
        });
        &mut all[at]
    }

    fn wildcard_or_new(&mut self, suffix: &str) -> u32 {
        let (shortest, longest) = self.suffix_lengths;
        self.suffix_lengths = (shortest.min(suffix.len()), longest.max(suffix.len()));
        self.child_or_new(BELOW, suffix)
    }

    fn descend(&mut self, root: u32, steps: &[Step<'_>]) -> u32 {
        steps.iter().fold(root, |node, step| match step {
            Step::Literal(label) => self.child_or_new(node, label),
            Step::Any => self.any_or_new(node),
        })
    }

    fn child_or_new(&mut self, parent: u32, label: &str) -> u32 {
        self.child(parent, label.as_bytes()).unwrap_or_else(|| {
            let child = self.new_node(parent, label.as_bytes());
            self.nodes[parent as usize].has_children = true;
            let nodes = &self.nodes;
            let hash_of = |at: u32| {
                let node = &nodes[at as usize];
                hash(node.parent, &node.label)
            };
            self.edges
                .insert_unique(hash_of(child), child, |at| hash_of(*at));
            child
        })
    }

    fn any_or_new(&mut self, parent: u32) -> u32 {
        if let Some(any) = self.node(parent).any {
            return any.get();
        }
        let any = self.new_node(parent, b"");
        self.nodes[parent as usize].any = NonZeroU32::new(any);
        any
    }

    fn new_node(&mut self, parent: u32, label: &[u8]) -> u32 {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node::new(parent, label));
        node
    }

    /// Shortens every way up to the nodes that have something. Parents come before their children.
    fn link(&mut self) {
        for at in 0..self.nodes.len() {
            let Some(parent) = self.nodes[at].above else {
                continue;
            };
            let parent = self.node(parent.get());
            if parent.prefix.count == 0 {
                self.nodes[at].above = parent.above;
            }
        }
    }
}

impl Node {
    fn new(parent: u32, label: &[u8]) -> Self {
        Self {
            parent,
            // The parent for now; `link` makes it the next one up that has a prefix route.
            above: NonZeroU32::new(parent).filter(|_| parent > BELOW),
            any: None,
            exact: Places::NONE,
            prefix: Places::NONE,
            has_children: false,
            label: Label::new(label),
        }
    }

    /// Whether it is where `label` leads to from `parent`.
    fn is(&self, parent: u32, label: &[u8]) -> bool {
        self.parent == parent && *self.label == *label
    }
}

impl Places {
    const NONE: Self = Self {
        count: 0,
        first: RouteIdx(0),
    };
}

impl Default for RouteTable {
    /// A table without routes.
    fn default() -> Self {
        Self {
            conditions: Box::default(),
            conditional: Box::default(),
            nodes: [EXACT, BELOW, ANY].map(|_| Node::new(EXACT, b"")).into(),
            edges: HashTable::new(),
            shared: Vec::new(),
            suffix_lengths: (usize::MAX, 0),
            patterned: HashMap::default(),
        }
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable")
            .field("routes", &self.conditions.len())
            .finish_non_exhaustive()
    }
}

fn conditional(routes: &[&RouteMatch]) -> Box<[u64]> {
    let bit = |(at, route): (usize, &&RouteMatch)| u64::from(route.conditions() > 0) << at;
    let word = |routes: &[&RouteMatch]| routes.iter().enumerate().map(bit).sum();
    routes.chunks(64).map(word).collect()
}

fn hash(parent: u32, label: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(parent);
    hasher.write(label);
    hasher.finish()
}

/// `host` in lower case without dots at its end; empty if it is longer than any host name.
fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; HOST_MAX]) -> &'a str {
    let host = host.trim_end_matches('.');
    let Some(copy) = buffer.get_mut(..host.len()) else {
        return "";
    };
    // Folded, not searched: of so few bytes all are looked at sooner than one after the other.
    let is_upper = |byte: u8| byte.is_ascii_uppercase();
    if !host.bytes().fold(false, |any, byte| any | is_upper(byte)) {
        return host;
    }
    copy.copy_from_slice(host.as_bytes());
    copy.make_ascii_lowercase();
    std::str::from_utf8(copy).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::{ACCEPT, HeaderName};

    use super::*;
    use crate::Snapshot;
    use crate::route::Template;

    /// `host path`: host `*` for any; the path as files have it, `*` is any.
    fn route(text: &str) -> RouteMatch {
        let (host, path) = text.split_once(' ').expect("host and path");
        let path = match path.strip_suffix("/**") {
            _ if path == "*" => None,
            _ if path.starts_with('~') => {
                let pattern = Pattern::new(&path[1..]).expect("a pattern");
                Some(PathMatch::Regex(Arc::new(pattern)))
            }
            _ if path.contains('{') => {
                let template = Template::new(path).expect("a template");
                Some(PathMatch::Template(Arc::new(template)))
            }
            Some(prefix) => Some(PathMatch::Prefix(format!("{prefix}/").into())),
            None => Some(PathMatch::Exact(path.into())),
        };
        let host = (host != "*").then(|| host.into());
        RouteMatch {
            host,
            path,
            ..RouteMatch::default()
        }
    }

    fn found(
        table: &RouteTable,
        method: Method,
        host: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Option<u32> {
        let fields = headers
            .iter()
            .map(|(name, value)| (name.clone(), (*value).to_owned()));
        let asked = Snapshot::new(method, host, path).with_fields(fields);
        table.find(&asked).map(|at| at.0)
    }

    fn check(routes: &[&str], host: &str, path: &str, expected: Option<u32>) {
        let routes: Vec<_> = routes.iter().map(|text| route(text)).collect();
        let found = RouteTable::new(&routes).find(&Snapshot::new(Method::GET, host, path));
        assert_eq!(found, expected.map(RouteIdx), "{host}{path}");
    }

    #[test]
    fn exact_host_then_longest_wildcard_then_any() {
        let routes = ["* *", "*.com *", "*.example.com *", "shop.example.com *"];
        check(&routes, "shop.example.com", "/", Some(3));
        check(&routes, "SHOP.Example.Com..", "/", Some(3));
        check(&routes, "a.shop.example.com", "/", Some(2));
        check(&routes, "x.example.com", "/", Some(2));
        check(&routes, "example.com", "/", Some(1));
        check(&routes, ".example.com", "/", Some(1));
        check(&routes, "com", "/", Some(0));
        check(&routes, ".com", "/", Some(0));
        check(&routes, "", "/", Some(0));
        check(&routes, &format!("{}.com", "a".repeat(249)), "/", Some(1));
        check(&routes, &format!("{}.com", "a".repeat(250)), "/", Some(0));
        check(&["shop.example.com *"], "shop.example.org", "/", None);
        check(&[], "shop.example.com", "/", None);
    }

    #[test]
    fn exact_path_then_longest_prefix() {
        let routes = ["h /**", "h /api/**", "h /api/v1/**", "h /api", "h /api/v1/"];
        check(&routes, "h", "/", Some(0));
        check(&routes, "h", "/api", Some(3));
        check(&routes, "h", "/api/", Some(1));
        check(&routes, "h", "/apix", Some(0));
        check(&routes, "h", "/api/v1", Some(2));
        check(&routes, "h", "/api/v1/", Some(4));
        check(&routes, "h", "/api/v1/x/y", Some(2));
        check(&routes, "h", "/api/v2/x/y", Some(1));
        check(&routes, "h", "*", Some(0));
        check(&["h /api/**"], "h", "/", None);
        check(&["h *"], "h", "", Some(0));
    }

    #[test]
    fn exact_then_template_then_prefix_then_regex_then_any() {
        let routes = [
            "h /**",
            "h ~^/users/",
            "h ~[0-9]$",
            "h /users/{id}",
            "h /users/me",
            "h /users/{id}/**",
            "h /users/me/**",
            "h /users/{id}/orders",
            "h /files/{rest=**}",
            "h /files/a/**",
            "h /{kind}/me/orders",
        ];
        check(&routes, "h", "/users/me", Some(4));
        check(&routes, "h", "/users/7", Some(3));
        check(&routes, "h", "/users/7/orders", Some(7));
        check(&routes, "h", "/users/me/orders", Some(7));
        check(&routes, "h", "/users/me/x", Some(6));
        check(&routes, "h", "/users/7/x", Some(5));
        check(&routes, "h", "/shops/me/orders", Some(10));
        check(&routes, "h", "/users/", Some(1));
        check(&routes, "h", "/users", Some(0));
        check(&routes, "h", "/users//orders", Some(1));
        check(&routes, "h", "/v1", Some(2));
        check(&routes, "h", "/files", Some(8));
        check(&routes, "h", "/files/", Some(8));
        check(&routes, "h", "/files/a/b", Some(9));
        check(&routes, "h", "/files/b/c", Some(8));
    }

    #[test]
    fn regular_expressions_are_tried_in_their_order_and_once_each() {
        let mut routes = ["h ~b", "h ~a", "h ~b", "* ~^/"].map(route);
        routes[2].methods = [Method::GET].into();
        let table = RouteTable::new(&routes);
        let find = |method, path| found(&table, method, "h", path, &[]);
        assert_eq!(find(Method::GET, "/ab"), Some(2));
        assert_eq!(find(Method::PUT, "/ab"), Some(0));
        assert_eq!(find(Method::PUT, "/a"), Some(1));
        assert_eq!(find(Method::PUT, "/c"), Some(3));
    }

    #[test]
    fn a_template_serves_where_the_conditions_of_a_better_one_fail() {
        let mut routes = ["h /a/{x}", "h /{x}/b", "h /a/b", "h /{x}/{y}", "h /a/{z}"].map(route);
        for (at, method) in [Method::GET, Method::PUT, Method::POST]
            .into_iter()
            .enumerate()
        {
            routes[at].methods = [method].into();
        }
        let table = RouteTable::new(&routes);
        let find = |method| found(&table, method, "h", "/a/b", &[]);
        assert_eq!(find(Method::POST), Some(2));
        assert_eq!(find(Method::GET), Some(0));
        assert_eq!(find(Method::PUT), Some(4));
    }

    /// As many ways as the table has, and no stack that grows with the path.
    #[test]
    fn deep_paths_are_walked_without_recursion() {
        let deep = "/a".repeat(30_000);
        let routes = [
            format!("h {deep}"),
            "h /{x}/b".into(),
            format!("h {deep}/{{x}}"),
        ];
        let routes: Vec<_> = routes.iter().map(|text| text.as_str()).collect();
        check(&routes, "h", &deep, Some(0));
        check(&routes, "h", &format!("{deep}/z"), Some(2));
        check(&routes, "h", &format!("{deep}/z/z"), None);
    }

    #[test]
    fn paths_match_byte_for_byte() {
        let routes = ["h /a/**", "h /a/../b", "h //a", "h /a%2Fb", "h *"];
        check(&routes, "h", "/a/../b", Some(1));
        check(&routes, "h", "//a", Some(2));
        check(&routes, "h", "/a%2Fb", Some(3));
        check(&routes, "h", "/a%2fb", Some(4));
        check(&routes, "h", "/A/x", Some(4));
        check(&routes, "h", "/a//", Some(0));
    }

    #[test]
    fn a_more_general_place_serves_when_conditions_fail() {
        let mut routes = ["h /a/b", "h /a/**", "*.x *", "* /a/**"].map(route);
        routes[0].methods = [Method::PUT].into();
        routes[1].headers = [(ACCEPT, "text/plain".into())].into();
        let table = RouteTable::new(&routes);
        let find = |method, host, headers| found(&table, method, host, "/a/b", headers);
        assert_eq!(find(Method::PUT, "h", &[]), Some(0));
        assert_eq!(find(Method::GET, "h", &[(ACCEPT, "text/plain")]), Some(1));
        assert_eq!(find(Method::GET, "h", &[(ACCEPT, "text/html")]), Some(3));
    }

    #[test]
    fn more_conditions_win_then_the_earlier() {
        let mut routes = ["h /a"; 5].map(route);
        routes[2].methods = [Method::GET, Method::HEAD].into();
        routes[3].methods = [Method::GET].into();
        routes[4].methods = [Method::GET].into();
        routes[4].headers = [(ACCEPT, "a".into())].into();
        let table = RouteTable::new(&routes);
        let find = |method, headers| found(&table, method, "h", "/a", headers);
        assert_eq!(find(Method::POST, &[]), Some(0));
        assert_eq!(find(Method::GET, &[]), Some(2));
        assert_eq!(find(Method::GET, &[(ACCEPT, "a")]), Some(4));
    }
}
