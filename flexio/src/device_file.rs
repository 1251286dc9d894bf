//! Device files: the figures of a device, its functions and their partitions, in TOML.
//!
//! `docs/device-file.md` says what may stand in one.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::backend::{
    self, ConfigError, DeviceConfig, DeviceFileError, FunctionKind, FunctionSpec, GroupSpec,
    NoUnitSet, PartitionSpec, UnitSet,
};

/// The environment variable that names the device file of a program that names none itself.
pub const VARIABLE: &str = "DPA_DEVICE";

/// No device file is as long.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    cores: Option<u32>,
    eus_per_core: Option<u32>,
    reserved_eus: Option<u32>,
    workers: Option<usize>,
    stack_bytes: Option<usize>,
    heap_bytes: Option<usize>,
    max_contexts: Option<usize>,
    max_units: Option<u32>,
    max_unfinished: Option<usize>,
    max_events: Option<usize>,
    max_queues: Option<usize>,
    max_regions: Option<usize>,
    #[serde(default)]
    function: Vec<Function>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    name: Spanned<String>,
    #[serde(default)]
    kind: Kind,
    address: Option<IpAddr>,
    units: Option<Units>,
    #[serde(default)]
    group: Vec<Group>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Pf,
    Vf,
    Sf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    units: Units,
}

/// `"0-3, 8"`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Units(UnitSet);

impl TryFrom<String> for Units {
    type Error = NoUnitSet;

    fn try_from(text: String) -> Result<Self, NoUnitSet> {
        text.parse().map(Self)
    }
}

/// Reads a device file: the default's figures, but for those it names.
///
/// # Errors
/// It cannot be read; it is no TOML or says something that device files do not, where; its functions do not fit together; a
/// figure is out of its range.
pub fn read(path: &Path) -> Result<DeviceConfig, DeviceFileError> {
    let text = read_text(path).map_err(|error| DeviceFileError::Read {
        path: path.into(),
        why: error.to_string(),
    })?;
    parse(path, &text)
}

/// The line that gives this figure.
fn line_of(text: &str, figure: &str) -> Option<usize> {
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim() == figure);
    let figures = text.lines().take_while(|line| !line.starts_with('['));
    { figures }
        .position(|line| key(line) == Some(true))
        .map(|at| at + 1)
}

/// The text of a file. To open a pipe may take without end, and what is no file may not have one.
fn read_text(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        let why = format!("it has more than {MOST_BYTES} bytes");
        return Err(io::Error::other(why));
    }
    Ok(text)
}

/// Reads the text of a device file; `path` is what errors call it.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<DeviceConfig, DeviceFileError> {
    let file: File = toml::from_str(text).map_err(|error| DeviceFileError::Syntax {
        path: path.into(),
        why: error.to_string().trim_end().to_owned(),
    })?;
    let starts: Vec<usize> = file.function.iter().map(|f| f.name.span().start).collect();
    let config = file.into_config();
    let figure = |source: ConfigError| DeviceFileError::Figure {
        path: path.into(),
        line: line_of(text, source.what),
        source,
    };
    config.validate().map_err(figure)?;
    for end in 1..=config.functions.len() {
        let checked = backend::check_layout(&config.functions[..end], config.usable_eus());
        checked.map_err(|source| DeviceFileError::Layout {
            path: path.into(),
            line: 1 + text[..starts[end - 1]].matches('\n').count(),
            source,
        })?;
    }
    Ok(config)
}

impl File {
    fn into_config(self) -> DeviceConfig {
        let default = DeviceConfig::default();
        DeviceConfig {
            name: self.name.unwrap_or(default.name),
            cores: self.cores.unwrap_or(default.cores),
            eus_per_core: self.eus_per_core.unwrap_or(default.eus_per_core),
            reserved_eus: self.reserved_eus.unwrap_or(default.reserved_eus),
            workers: self.workers.unwrap_or(default.workers),
            stack_bytes: self.stack_bytes.unwrap_or(default.stack_bytes),
            heap_bytes: self.heap_bytes.unwrap_or(default.heap_bytes),
            max_contexts: self.max_contexts.unwrap_or(default.max_contexts),
            max_units: self.max_units.or(default.max_units),
            max_unfinished: self.max_unfinished.unwrap_or(default.max_unfinished),
            max_events: self.max_events.unwrap_or(default.max_events),
            max_queues: self.max_queues.unwrap_or(default.max_queues),
            max_regions: self.max_regions.unwrap_or(default.max_regions),
            functions: self.function.into_iter().map(Function::into_spec).collect(),
            ..default
        }
        .with_default_partition_that_fits()
    }
}

impl Function {
    fn into_spec(self) -> FunctionSpec {
        let groups = self.group.into_iter().map(|group| GroupSpec {
            name: group.name,
            units: group.units.0,
        });
        let groups: Vec<GroupSpec> = groups.collect();
        FunctionSpec {
            name: self.name.into_inner(),
            kind: match self.kind {
                Kind::Pf => FunctionKind::Physical,
                Kind::Vf => FunctionKind::Virtual,
                Kind::Sf => FunctionKind::Sub,
            },
            address: self.address,
            // Groups without units are an error, not nothing.
            partition: match (self.units, groups.is_empty()) {
                (None, true) => None,
                (units, _) => Some(PartitionSpec {
                    units: units.map(|units| units.0).unwrap_or_default(),
                    groups,
                }),
            },
        }
    }
}
