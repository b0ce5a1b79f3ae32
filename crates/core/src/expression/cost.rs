//! How much an expression may be, and how much it is.

use thiserror::Error;

use super::node::{Conversion, Fact, List, MapName, Node, Range};
use super::{MAX_COST, MAX_DEPTH, MAX_LIST, MAX_LOOPS, MAX_NODES};

/// Steps of a look-up among a request's fields, parameters or cookies.
pub(super) const LOOK_UP: u32 = 4;

/// Steps that a pattern takes to get going.
pub(super) const PATTERN: u32 = 8;

/// Steps of a search among networks.
const NETWORKS: u32 = 4;

/// How many entries a map of a request is taken to have.
const ENTRIES: u32 = 32;

/// What an expression costs, without what depends on the length of a request's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nodes.
    pub nodes: usize,
    /// How deep they are nested.
    pub depth: usize,
    /// Steps of an evaluation that looks at everything.
    pub steps: u32,
    /// Whether it makes texts of its own.
    pub writes: bool,
}

/// Why an expression is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooComplex {
    /// More than [`MAX_NODES`].
    #[error("it has {0} parts, at most {MAX_NODES} are allowed")]
    Nodes(usize),
    /// More than [`MAX_DEPTH`].
    #[error("it is nested more than {MAX_DEPTH} deep")]
    Depth,
    /// More than [`MAX_LOOPS`].
    #[error("loops are nested more than {MAX_LOOPS} deep")]
    Loops,
    /// A list of more than [`MAX_LIST`].
    #[error("a list has {0} elements, at most {MAX_LIST} are allowed")]
    List(usize),
    /// More than [`MAX_COST`].
    #[error("it may take {0} steps, at most {MAX_COST} are allowed")]
    Steps(u32),
}

impl Cost {
    /// What it costs to evaluate a tree.
    ///
    /// # Errors
    /// More than it may.
    pub fn of(root: &Node) -> Result<Self, TooComplex> {
        let cost = measure(root, 1, 0)?;
        match cost {
            Self { nodes, .. } if nodes > MAX_NODES => Err(TooComplex::Nodes(nodes)),
            Self { steps, .. } if steps > MAX_COST => Err(TooComplex::Steps(steps)),
            _ => Ok(cost),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            depth: self.depth.max(other.depth),
            steps: self.steps.saturating_add(other.steps),
            writes: self.writes || other.writes,
        }
    }
}

fn measure(node: &Node, depth: usize, loops: usize) -> Result<Cost, TooComplex> {
    let loops = loops + usize::from(matches!(node, Node::Exists(..) | Node::ForAll(..)));
    if depth > MAX_DEPTH {
        return Err(TooComplex::Depth);
    }
    if loops > MAX_LOOPS {
        return Err(TooComplex::Loops);
    }
    let own = Cost {
        nodes: 1,
        depth,
        steps: steps(node),
        writes: writes(node),
    };
    let below = node
        .children()
        .iter()
        .try_fold(Cost::default(), |sum, child| {
            Ok(sum.and(measure(child, depth + 1, loops)?))
        })?;
    let rounds = rounds(node)?;
    let below = Cost {
        steps: below.steps.saturating_mul(rounds),
        ..below
    };
    Ok(own.and(below))
}

/// The steps of a node without those below it.
fn steps(node: &Node) -> u32 {
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    match node {
        Node::Header(_) | Node::HasHeader(_) | Node::Entry(..) | Node::HasEntry(..) => LOOK_UP,
        Node::Matches(..) => PATTERN,
        Node::In(_, List::Texts(list)) => 1 + count(list.len()).checked_ilog2().unwrap_or(0),
        Node::In(_, list) => 1 + count(list.len()) / 8,
        Node::ClientIn(_) | Node::AddressIn(..) => NETWORKS,
        _ => 1,
    }
}

/// How often what is below a node may be evaluated.
fn rounds(node: &Node) -> Result<u32, TooComplex> {
    let list = match node {
        Node::Exists(Range::Names(_), _) | Node::ForAll(Range::Names(_), _) => return Ok(ENTRIES),
        Node::Exists(Range::List(list), _) | Node::ForAll(Range::List(list), _) => list,
        Node::In(_, list) if list.len() > MAX_LIST => return Err(TooComplex::List(list.len())),
        _ => return Ok(1),
    };
    match u32::try_from(list.len()) {
        Ok(len) if list.len() <= MAX_LIST => Ok(len),
        _ => Err(TooComplex::List(list.len())),
    }
}

fn writes(node: &Node) -> bool {
    matches!(
        node,
        Node::Fact(Fact::Host | Fact::ClientIp)
            | Node::Convert(Conversion::Text, _)
            | Node::Concat(_)
            | Node::Exists(Range::Names(MapName::Headers), _)
            | Node::ForAll(Range::Names(MapName::Headers), _)
    )
}
