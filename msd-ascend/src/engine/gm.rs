//! GM as a flow of bytes: transfers that run at the same time share HBM, and what a cube core and its vector cores
//! may read or write through L2; a line that L2 holds does not come from HBM again. Owns bandwidth, the contents of
//! L2 and the count of traffic; when a transfer starts is the pipe's affair.
//!
//! Rates are as fair as can be: a transfer goes as fast as its port and its part of the core's bandwidth allow, and
//! what HBM cannot serve is taken off the fastest first.

use crate::chip::Chip;
use crate::isa::memory::Region;
use crate::program::Purpose;

/// Bytes moved, by where they came from or went to. What a core reads counts as read from L2 if L2 held it; else the
/// lines that HBM moves for it count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From HBM.
    pub hbm_read: u64,
    /// To HBM: results, and what L2 had no room for.
    pub hbm_write: u64,
    /// Served by L2.
    pub l2_read: u64,
    /// Kept in L2 for other cores to read.
    pub l2_write: u64,
}

impl Traffic {
    /// All bytes.
    pub fn total(&self) -> u64 {
        self.hbm_read + self.hbm_write + self.l2_read + self.l2_write
    }

    /// Both together.
    pub fn plus(self, other: Traffic) -> Traffic {
        Traffic {
            hbm_read: self.hbm_read + other.hbm_read,
            hbm_write: self.hbm_write + other.hbm_write,
            l2_read: self.l2_read + other.l2_read,
            l2_write: self.l2_write + other.l2_write,
        }
    }
}

/// A transfer under way.
struct Flow {
    /// Whose it is.
    token: u64,
    /// Cube core and direction: what it shares L2's ports with.
    port: usize,
    /// Most bytes per cycle.
    most: f64,
    /// Part of its bytes that HBM moves.
    from_hbm: f64,
    remaining: f64,
    rate: f64,
}

/// A tensor's place among the lines of L2.
#[derive(Clone, Copy)]
struct Lines {
    first: usize,
    purpose: Purpose,
}

const ABSENT: u8 = 0;
const HELD: u8 = 1;
const TOUCHED: u8 = 2;
const DIRTY: u8 = 4;

/// GM with L2 in front.
pub(super) struct Gm {
    hbm: f64,
    l2_read: f64,
    l2_write: f64,
    line: i64,
    flows: Vec<Flow>,
    /// Of each port, how many transfers share it and what each of them gets at most, once that is known.
    at_port: Vec<(u32, Option<f64>)>,
    /// Room for the users of a resource.
    users: Vec<(f64, f64)>,
    /// When the next is through, unless transfers have begun or ended since.
    next: Option<u64>,
    /// Whether they have, so that rates and `next` are to be found again.
    is_stale: bool,
    now: u64,
    tensors: Vec<Lines>,
    /// State of every line of every tensor.
    state: Vec<u8>,
    /// Lines that L2 holds, in a ring with a hand that takes the first not touched since it last came by.
    ring: Vec<u32>,
    hand: usize,
    capacity: usize,
    traffic: [Traffic; Purpose::ALL.len()],
}

impl Gm {
    /// Nothing in L2, nothing under way. `tensors` are numbers of bytes and purposes.
    pub(super) fn new(chip: &Chip, tensors: &[(u64, Purpose)]) -> Gm {
        let line = *chip.memory.l2_line;
        let mut first = 0;
        let mut places = Vec::new();
        for &(bytes, purpose) in tensors {
            places.push(Lines { first, purpose });
            first += bytes.div_ceil(line) as usize;
        }
        Gm {
            hbm: (*chip.rates.hbm_per_core * *chip.cores.cube) as f64,
            l2_read: *chip.rates.l2_read_per_core as f64,
            l2_write: *chip.rates.l2_write_per_core as f64,
            line: line as i64,
            flows: Vec::new(),
            at_port: Vec::new(),
            users: Vec::new(),
            next: None,
            is_stale: false,
            now: 0,
            tensors: places,
            state: vec![ABSENT; first],
            ring: Vec::new(),
            hand: 0,
            capacity: (*chip.memory.l2 / line).max(1) as usize,
            traffic: Default::default(),
        }
    }

    /// Traffic by purpose, in the order of [`Purpose::ALL`].
    pub(super) fn traffic(&self) -> [Traffic; Purpose::ALL.len()] {
        self.traffic
    }

    /// Starts a transfer of `region` for the cores of `group`, at most `most` bytes per cycle.
    pub(super) fn start(&mut self, now: u64, token: u64, group: usize, most: u64, region: &Region) {
        self.advance(now);
        let bytes = region.len().max(1) as f64;
        let hbm = if region.writes { self.write(region) } else { self.read(region) };
        let port = group * 2 + usize::from(region.writes);
        let from_hbm = hbm as f64 / bytes;
        self.flows.push(Flow { token, port, most: most as f64, from_hbm, remaining: bytes, rate: 0.0 });
        self.is_stale = true;
    }

    /// When the next transfer is through, if any is under way and that is by `time`.
    pub(super) fn next_by(&mut self, time: Option<u64>) -> Option<u64> {
        if self.is_stale {
            // Every transfer takes a cycle, so what many cores begin in one cycle is shared out once.
            if time == Some(self.now) {
                return None;
            }
            self.share();
            let left = |flow: &Flow| ((flow.remaining / flow.rate).ceil() as u64).max(1);
            self.next = self.flows.iter().map(|flow| self.now + left(flow)).min();
            self.is_stale = false;
        }
        self.next.filter(|next| time.is_none_or(|time| *next <= time))
    }

    /// Transfers that are through at `now`, which is no later than [`next_by`](Gm::next_by) said.
    pub(super) fn finish(&mut self, now: u64) -> Vec<u64> {
        self.advance(now);
        let mut done = Vec::new();
        self.flows.retain(|flow| {
            let is_done = flow.remaining <= 1e-6;
            if is_done {
                done.push(flow.token);
            }
            !is_done
        });
        // Also if none is: it was a part of a cycle short.
        self.is_stale = true;
        done
    }

    fn advance(&mut self, now: u64) {
        let cycles = (now - self.now) as f64;
        self.now = now;
        for flow in &mut self.flows {
            flow.remaining = (flow.remaining - flow.rate * cycles).max(0.0);
        }
    }

    /// Gives every transfer its rate.
    fn share(&mut self) {
        // What shares a port of L2 shares it evenly; a transfer with a narrower port of its own leaves the rest.
        self.at_port.fill((0, None));
        for flow in &self.flows {
            if self.at_port.len() <= flow.port {
                self.at_port.resize(flow.port + 1, (0, None));
            }
            self.at_port[flow.port].0 += 1;
        }
        for i in 0..self.flows.len() {
            let Flow { port, most, .. } = self.flows[i];
            let cap = if port % 2 == 0 { self.l2_read } else { self.l2_write };
            let part = match self.at_port[port] {
                (1, _) => cap,
                (_, Some(part)) => part,
                (_, None) => {
                    self.users.clear();
                    self.users.extend(self.flows.iter().filter(|f| f.port == port).map(|f| (f.most, 1.0)));
                    let part = level(cap, &mut self.users);
                    self.at_port[port].1 = Some(part);
                    part
                }
            };
            self.flows[i].rate = most.min(part);
        }
        self.users.clear();
        self.users.extend(self.flows.iter().filter(|f| f.from_hbm > 0.0).map(|f| (f.rate, f.from_hbm)));
        let most = level(self.hbm, &mut self.users);
        for flow in self.flows.iter_mut().filter(|f| f.from_hbm > 0.0) {
            flow.rate = flow.rate.min(most);
        }
    }

    /// Lines of a region, each once for each row that has a part of it, with the bytes of that part.
    fn lines(&self, region: &Region) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (line, first) = (self.line, self.tensors[usize::from(region.tensor)].first);
        let Region { rows, bytes, start, stride, .. } = region.joined();
        (0..rows).flat_map(move |row| {
            let (start, end) = (start + row * stride, start + row * stride + bytes);
            (start / line..(end + line - 1) / line).map(move |l| {
                let part = end.min((l + 1) * line) - start.max(l * line);
                (first + l as usize, part as u64)
            })
        })
    }

    /// Bytes that HBM moves for a read: whole lines, and what they drive out.
    fn read(&mut self, region: &Region) -> u64 {
        let (mut fetched, mut held, mut driven_out) = (0, 0, 0);
        for (line, part) in self.lines(region) {
            if self.state[line] == ABSENT {
                fetched += self.line as u64;
                driven_out += self.hold(line);
            } else {
                held += part;
            }
            self.state[line] |= TOUCHED;
        }
        let purpose = self.tensors[usize::from(region.tensor)].purpose;
        let traffic = &mut self.traffic[purpose as usize];
        traffic.hbm_read += fetched;
        traffic.l2_read += held;
        fetched + driven_out
    }

    /// Bytes that HBM moves for a write: results go there, what others read stays in L2 while it has room.
    fn write(&mut self, region: &Region) -> u64 {
        let purpose = self.tensors[usize::from(region.tensor)].purpose;
        let through = purpose == Purpose::Output;
        let mut driven_out = 0;
        for (line, _) in self.lines(region) {
            if self.state[line] == ABSENT {
                driven_out += self.hold(line);
            }
            self.state[line] |= if through { TOUCHED } else { TOUCHED | DIRTY };
        }
        let bytes = region.len() as u64;
        let traffic = &mut self.traffic[purpose as usize];
        match through {
            true => {
                traffic.hbm_write += bytes;
                driven_out + bytes
            }
            false => {
                traffic.l2_write += bytes;
                driven_out
            }
        }
    }

    /// Makes room for a line; bytes that go to HBM for it.
    fn hold(&mut self, line: usize) -> u64 {
        self.state[line] = HELD;
        if self.ring.len() < self.capacity {
            self.ring.push(line as u32);
            return 0;
        }
        loop {
            let held = self.ring[self.hand] as usize;
            if self.state[held] & TOUCHED == 0 {
                let dirty = self.state[held] & DIRTY != 0;
                self.state[held] = ABSENT;
                self.ring[self.hand] = line as u32;
                self.hand = (self.hand + 1) % self.capacity;
                if !dirty {
                    return 0;
                }
                let owner = self.tensors.partition_point(|lines| lines.first <= held) - 1;
                self.traffic[self.tensors[owner].purpose as usize].hbm_write += self.line as u64;
                return self.line as u64;
            }
            self.state[held] &= !TOUCHED;
            self.hand = (self.hand + 1) % self.capacity;
        }
    }
}

/// The rate at which users of a resource, each with its most and its part of the resource, fill it; infinite if they
/// cannot.
fn level(resource: f64, users: &mut [(f64, f64)]) -> f64 {
    if users.iter().map(|(most, part)| most * part).sum::<f64>() < resource {
        return f64::INFINITY;
    }
    users.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut left = resource;
    let mut parts: f64 = users.iter().map(|(_, part)| part).sum();
    for &(most, part) in users.iter() {
        if most * parts >= left {
            return left / parts;
        }
        left -= most * part;
        parts -= part;
    }
    f64::INFINITY
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::isa::memory::Space;

    /// L2 of four lines, before two tensors of eight.
    fn small() -> Gm {
        let chip = Chip::parse(
            "extends = \"ascend-910b\"\nname = \"small\"\n[memory]\nl2 = { value = 2048, source = \"a test\" }",
        );
        Gm::new(&chip.unwrap(), &[(4096, Purpose::Weight), (4096, Purpose::Workspace)])
    }

    fn region(tensor: u16, writes: bool, start: i64, rows: i64, bytes: i64, stride: i64) -> Region {
        Region { space: Space::Gm, tensor, writes, start, rows, bytes, stride }
    }

    fn of(gm: &Gm, purpose: Purpose) -> Traffic {
        gm.traffic[purpose as usize]
    }

    #[test]
    fn lines_are_fetched_whole_and_once() {
        let mut gm = small();
        assert_eq!(gm.read(&region(0, false, 500, 1, 24, 0)), 1024);
        // The first half is held, the second is not.
        assert_eq!(gm.read(&region(0, false, 768, 1, 512, 0)), 512);
        assert_eq!(of(&gm, Purpose::Weight), Traffic { hbm_read: 1536, l2_read: 256, ..Traffic::default() });
        // Two rows in one line, which is there.
        assert_eq!(gm.read(&region(0, false, 0, 2, 16, 64)), 0);
        assert_eq!(of(&gm, Purpose::Weight).l2_read, 288);
    }

    #[test]
    fn what_is_driven_out_goes_to_hbm_if_it_was_written() {
        let mut gm = small();
        assert_eq!(gm.write(&region(1, true, 0, 1, 2048, 0)), 0);
        // Two passes of the hand: all were touched, then the first line goes.
        assert_eq!(gm.read(&region(0, false, 0, 1, 512, 0)), 512 + 512);
        assert_eq!(of(&gm, Purpose::Weight), Traffic { hbm_read: 512, ..Traffic::default() });
        assert_eq!(of(&gm, Purpose::Workspace), Traffic { l2_write: 2048, hbm_write: 512, ..Traffic::default() });
        // A line that was read alone leaves no trace.
        for line in 1..8 {
            gm.read(&region(0, false, line * 512, 1, 512, 0));
        }
        assert_eq!(of(&gm, Purpose::Workspace).hbm_write, 2048);
    }

    #[test]
    fn what_begins_in_one_cycle_is_shared_out_together() {
        let mut gm = small();
        for (token, group) in [(1, 0), (2, 1)] {
            gm.start(10, token, group, 100, &region(0, false, 512 * group as i64, 1, 512, 0));
            assert_eq!(gm.next_by(Some(10)), None);
        }
        // 512 bytes at 100 a cycle.
        assert_eq!([gm.next_by(Some(15)), gm.next_by(Some(16)), gm.next_by(None)], [None, Some(16), Some(16)]);
        // Another on the same port leaves each half of what L2 gives a core, 110.
        gm.start(13, 3, 0, 100, &region(0, false, 1024, 1, 512, 0));
        assert_eq!(gm.next_by(None), Some(16));
        assert_eq!(gm.finish(16), [2]);
        assert_eq!(gm.next_by(Some(16)), None);
        assert_eq!(gm.next_by(None), Some(17));
        assert_eq!(gm.finish(17), [1]);
        // 55 a cycle for four cycles, then 100.
        assert_eq!((gm.next_by(None), gm.finish(20)), (Some(20), vec![3]));
        assert_eq!(gm.next_by(None), None);
    }

    #[test]
    fn levels() {
        assert_eq!(level(10.0, &mut [(3.0, 1.0), (3.0, 1.0)]), f64::INFINITY);
        assert_eq!(level(10.0, &mut [(8.0, 1.0), (3.0, 1.0)]), 7.0);
        assert_eq!(level(10.0, &mut [(9.0, 1.0), (9.0, 1.0)]), 5.0);
        assert_eq!(level(10.0, &mut [(9.0, 0.5), (9.0, 2.0)]), 4.0);
    }
}
