//! Dockerfiles: so far the instructions that `commit --change` knows, and their words. Building from one is to come here.

mod instruction;
pub(crate) mod words;

pub(crate) use instruction::{CommandLine, HealthTest, Instruction, parse_lines, refuse};
