//! The registers of a traced thread that a system call is made by (syscall(2), "Architecture calling conventions").

use std::io;

use crate::sandbox::sys;

/// A copy of a thread's registers.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    now: libc::user_regs_struct,
    number: libc::c_long,
}

impl Registers {
    /// Reads those of a thread that is stopped at a call.
    pub fn get(tid: i32) -> io::Result<Registers> {
        let now = sys::registers(tid)?;
        Ok(Registers { now, number: call_of(&now) })
    }

    /// Gives a thread these.
    pub fn set(&self, tid: i32) -> io::Result<()> {
        sys::set_registers(tid, &self.now)
    }

    /// Returns the number of the call.
    pub fn call(&self) -> libc::c_long {
        self.number
    }
}

#[cfg(target_arch = "x86_64")]
fn call_of(registers: &libc::user_regs_struct) -> libc::c_long {
    registers.orig_rax as libc::c_long
}

#[cfg(target_arch = "aarch64")]
fn call_of(registers: &libc::user_regs_struct) -> libc::c_long {
    registers.regs[8] as libc::c_long
}

#[cfg(target_arch = "x86_64")]
impl Registers {
    /// Returns the arguments of the call.
    pub fn arguments(&self) -> [u64; 6] {
        let r = &self.now;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
    }

    /// Returns the result of the call.
    pub fn result(&self) -> i64 {
        self.now.rax as i64
    }

    /// Has the kernel not make the call, which gives this.
    pub fn skip(&mut self, tid: i32, result: i64) -> io::Result<()> {
        self.now.orig_rax = u64::MAX;
        self.give(tid, result)
    }

    /// Has a call that returned give this.
    pub fn give(&mut self, tid: i32, result: i64) -> io::Result<()> {
        self.now.rax = result as u64;
        self.set(tid)
    }

    /// Has the kernel make another call.
    pub fn instead(&mut self, tid: i32, call: libc::c_long, arguments: [u64; 6]) -> io::Result<()> {
        let r = &mut self.now;
        r.orig_rax = call as u64;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = arguments;
        self.set(tid)
    }

    /// Goes back onto the instruction of the call, with another one. `syscall` is two bytes long.
    pub fn repeat(&mut self, call: libc::c_long, arguments: [u64; 6]) {
        let r = &mut self.now;
        r.rip -= 2;
        r.rax = call as u64;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = arguments;
        // Not in a call any more: nothing to be restarted.
        r.orig_rax = u64::MAX;
    }

    /// Has the call execute a file: path, and list of arguments where that is another one.
    pub fn execute(&mut self, file: u64, list: Option<u64>) {
        let r = &mut self.now;
        match self.number == libc::SYS_execveat {
            true => {
                r.rdi = libc::AT_FDCWD as i64 as u64;
                r.rsi = file;
                r.rdx = list.unwrap_or(r.rdx);
                r.r8 = 0;
            }
            false => {
                r.rdi = file;
                r.rsi = list.unwrap_or(r.rsi);
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Registers {
    /// Returns the arguments of the call.
    pub fn arguments(&self) -> [u64; 6] {
        let r = &self.now.regs;
        [r[0], r[1], r[2], r[3], r[4], r[5]]
    }

    /// Returns the result of the call.
    pub fn result(&self) -> i64 {
        self.now.regs[0] as i64
    }

    /// Has the kernel not make the call, which gives this.
    pub fn skip(&mut self, tid: i32, result: i64) -> io::Result<()> {
        sys::set_call(tid, -1)?;
        self.give(tid, result)
    }

    /// Has a call that returned give this.
    pub fn give(&mut self, tid: i32, result: i64) -> io::Result<()> {
        self.now.regs[0] = result as u64;
        self.set(tid)
    }

    /// Has the kernel make another call.
    pub fn instead(&mut self, tid: i32, call: libc::c_long, arguments: [u64; 6]) -> io::Result<()> {
        self.now.regs[..6].copy_from_slice(&arguments);
        self.now.regs[8] = call as u64;
        self.set(tid)?;
        sys::set_call(tid, call as i32)
    }

    /// Goes back onto the instruction of the call, with another one. `svc` is four bytes long.
    pub fn repeat(&mut self, call: libc::c_long, arguments: [u64; 6]) {
        self.now.pc -= 4;
        self.now.regs[..6].copy_from_slice(&arguments);
        self.now.regs[8] = call as u64;
    }

    /// Has the call execute a file: path, and list of arguments where that is another one.
    pub fn execute(&mut self, file: u64, list: Option<u64>) {
        let r = &mut self.now.regs;
        match self.number == libc::SYS_execveat {
            true => {
                r[0] = libc::AT_FDCWD as i64 as u64;
                r[1] = file;
                r[2] = list.unwrap_or(r[2]);
                r[4] = 0;
            }
            false => {
                r[0] = file;
                r[1] = list.unwrap_or(r[1]);
            }
        }
    }
}
