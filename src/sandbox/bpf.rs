//! The seccomp filter of a step, put together instruction by instruction (seccomp(2), linux/filter.h).
//!
//! Per system call there is one rule: a few tests on argument registers, each with an answer, and an answer for the rest. What has no rule
//! is allowed. Calls by another ABI than the machine's own (i386, x32, 32-bit Arm) all get one answer.

use libc::sock_filter;

use super::syscalls::{AUDIT_ARCH, FOREIGN_BIT};

/// The verdict on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel does it.
    Allow,
    /// The supervisor is asked.
    Notify,
    /// It fails with this errno.
    Errno(i32),
    /// The tracer is asked.
    Trace,
    /// The tracer hears of a call by another ABI.
    Foreign,
}

/// The number that comes to the tracer with a call by another ABI (SECCOMP_RET_DATA); with all others comes 0.
pub const FOREIGN: u32 = 1;

impl Verdict {
    fn value(self) -> u32 {
        match self {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Verdict::Trace => libc::SECCOMP_RET_TRACE,
            Verdict::Foreign => libc::SECCOMP_RET_TRACE | FOREIGN,
            Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        }
    }
}

/// A test on the lower half of an argument register: no flag, mode or command that is tested here is wider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// One of these bits is set.
    Any(u8, u32),
    /// It has this value.
    Is(u8, u32),
}

/// The rule for one system call.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its number.
    pub number: u32,
    /// Tests, in order: the first that holds decides.
    pub tests: Vec<(Test, Verdict)>,
    /// The verdict when no condition holds.
    pub otherwise: Verdict,
}

impl Rule {
    /// Returns what the filter says of a call with these arguments.
    pub fn decide(&self, arguments: &[u64; 6]) -> Verdict {
        let holds = |test: &Test| match *test {
            Test::Any(n, mask) => arguments[usize::from(n)] as u32 & mask != 0,
            Test::Is(n, value) => arguments[usize::from(n)] as u32 == value,
        };
        self.tests.iter().find(|(test, _)| holds(test)).map_or(self.otherwise, |(_, verdict)| *verdict)
    }

    /// Turns it into the same rule where a tracer takes the place of the listener.
    pub fn traced(mut self) -> Rule {
        let traced = |verdict| if verdict == Verdict::Notify { Verdict::Trace } else { verdict };
        self.otherwise = traced(self.otherwise);
        self.tests.iter_mut().for_each(|(_, verdict)| *verdict = traced(*verdict));
        self
    }
}

/// Offsets in struct seccomp_data (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Returns the lower half of an argument.
fn argument(n: u8) -> u32 {
    let half = if cfg!(target_endian = "big") { 4 } else { 0 };
    16 + 8 * u32::from(n) + half
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

fn jump(code: u16, k: u32, holds: u8, not: u8) -> sock_filter {
    sock_filter { code, jt: holds, jf: not, k }
}

fn end(verdict: Verdict) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: verdict.value() }
}

/// Returns what is done with a call by another ABI. Where those are allowed, io_uring is not: its numbers, 425 to 427, are the
/// same in all of them (asm-generic/unistd.h, for x32 with a bit more).
fn of_another_abi(verdict: Verdict) -> Vec<sock_filter> {
    if verdict != Verdict::Allow {
        return vec![end(verdict)];
    }
    vec![
        load(NUMBER),
        sock_filter { code: AND, jt: 0, jf: 0, k: !FOREIGN_BIT },
        jump(EQUAL, 425, 2, 0),
        jump(EQUAL, 426, 1, 0),
        jump(EQUAL, 427, 0, 1),
        end(Verdict::Errno(libc::ENOSYS)),
        end(verdict),
    ]
}

/// Puts the filter together. `foreign` is the answer to calls by another ABI.
pub fn assemble(rules: &[Rule], foreign: Verdict) -> Vec<sock_filter> {
    let foreign = of_another_abi(foreign);
    let length = foreign.len() as u8;
    let mut out = vec![load(ARCHITECTURE), jump(EQUAL, AUDIT_ARCH, length, 0)];
    out.extend(&foreign);
    out.push(load(NUMBER));
    if FOREIGN_BIT != 0 {
        out.push(jump(SET, FOREIGN_BIT, 0, length));
        out.extend(&foreign);
    }
    for rule in rules {
        let body = rule.tests.len() * 3 + 1;
        // A rule of that length would be a mistake of ours; a jump reaches 255 instructions.
        let body = u8::try_from(body).expect("a rule has few tests");
        out.push(jump(EQUAL, rule.number, 0, body));
        for &(test, verdict) in &rule.tests {
            let (n, jump) = match test {
                Test::Any(n, mask) => (n, jump(SET, mask, 0, 1)),
                Test::Is(n, value) => (n, jump(EQUAL, value, 0, 1)),
            };
            out.extend([load(argument(n)), jump, end(verdict)]);
        }
        out.push(end(rule.otherwise));
    }
    out.push(end(Verdict::Allow));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the kernel's interpreter would answer, for the instructions used here.
    fn answer(filter: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
        let (mut at, mut a) = (0, 0);
        loop {
            let i = filter[at];
            at += 1;
            match i.code {
                LOAD if i.k == NUMBER => a = number,
                LOAD if i.k == ARCHITECTURE => a = arch,
                LOAD => a = arguments[((i.k - 16) / 8) as usize],
                EQUAL => at += usize::from(if a == i.k { i.jt } else { i.jf }),
                SET => at += usize::from(if a & i.k != 0 { i.jt } else { i.jf }),
                AND => a &= i.k,
                RETURN => return i.k,
                code => panic!("instruction {code}"),
            }
        }
    }

    #[test]
    fn rules_decide_in_order_and_the_rest_is_allowed() {
        let rules = [
            Rule { number: 7, tests: vec![], otherwise: Verdict::Errno(38) },
            Rule {
                number: 9,
                tests: vec![(Test::Is(0, 4), Verdict::Errno(1)), (Test::Any(2, 0o101), Verdict::Notify)],
                otherwise: Verdict::Allow,
            },
        ];
        let filter = assemble(&rules, Verdict::Errno(99));
        let ask = |number: u32, arguments: [u32; 6]| {
            let got = answer(&filter, AUDIT_ARCH, number, arguments);
            // Where there is no filter, the rules say the same.
            if let Some(rule) = rules.iter().find(|rule| rule.number == number) {
                assert_eq!(rule.decide(&arguments.map(u64::from)).value(), got);
                let traced = rule.clone().traced().decide(&arguments.map(u64::from)).value();
                let notified = got == libc::SECCOMP_RET_USER_NOTIF;
                assert_eq!(traced, if notified { libc::SECCOMP_RET_TRACE } else { got });
            }
            got
        };
        assert_eq!(ask(7, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!(ask(8, [4; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(9, [0; 6]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(ask(9, [4; 6]), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(ask(9, [0, 0, 0o100, 0, 0, 0]), libc::SECCOMP_RET_USER_NOTIF);
        assert_eq!(answer(&filter, AUDIT_ARCH ^ 1, 8, [0; 6]), libc::SECCOMP_RET_ERRNO | 99);
        if FOREIGN_BIT != 0 {
            assert_eq!(ask(8 | FOREIGN_BIT, [0; 6]), libc::SECCOMP_RET_ERRNO | 99);
        }
    }

    #[test]
    fn where_another_abi_is_allowed_it_does_not_lead_past_the_filter() {
        let filter = assemble(&[], Verdict::Allow);
        for number in 423..430 {
            let refused = (425..428).contains(&number);
            let expected =
                if refused { libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 } else { libc::SECCOMP_RET_ALLOW };
            assert_eq!(answer(&filter, AUDIT_ARCH ^ 1, number, [0; 6]), expected, "{number}");
            if FOREIGN_BIT != 0 {
                assert_eq!(answer(&filter, AUDIT_ARCH, number | FOREIGN_BIT, [0; 6]), expected, "{number}");
            }
        }
        assert_eq!(answer(&filter, AUDIT_ARCH, 8, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }
}
