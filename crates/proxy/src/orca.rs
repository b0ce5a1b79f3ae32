//! The load that upstreams report with their answers, in the fields and formats of ORCA.
//!
//! `endpoint-load-metrics` has `TEXT` (pairs), `JSON` or `BIN` (base64 of a protocol buffer) before its
//! report, `endpoint-load-metrics-bin` is `BIN` without the word; both come in heads, and from services of gRPC in
//! trailers. Of `xds.data.orca.v3.OrcaLoadReport` two numbers count: what the application says of its
//! utilization, else its processor's; 0 is how that message says nothing. A report is read whole or
//! not at all, up to 4 KiB: a number out of order, a value that is none, a pair twice, and it counts
//! for nothing but a figure in the metrics.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use smallvec::SmallVec;
use tidegate_http1::Known;

use crate::head::ResponseHead;

/// A report of more bytes is not read.
const REPORT_BYTES: usize = 4 * 1024;
/// A load above this counts as this.
const LOAD_MAX: f32 = 100.0;
/// Metadata of gRPC has no padding, other services pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The numbers of the fields in the protocol buffer.
const CPU: u64 = 1;
const APPLICATION: u64 = 9;

/// A report that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a report says of the load: above 0; none if it says nothing of it.
pub(crate) type Load = Result<Option<f32>, Malformed>;

/// The report in an answer's head; none if there is none.
pub(crate) fn in_head(head: &ResponseHead) -> Option<Load> {
    let bin = head.field(Known::EndpointLoadMetricsBin).map(binary);
    bin.or_else(|| head.field(Known::EndpointLoadMetrics).map(worded))
}

/// Takes the report out of an answer's trailers; none if there is none.
pub(crate) fn take(trailers: &mut HeaderMap) -> Option<Load> {
    let mut take = |known: Known| trailers.remove(known.name());
    let (bin, word) = (
        take(Known::EndpointLoadMetricsBin),
        take(Known::EndpointLoadMetrics),
    );
    let bin = bin.map(|value| binary(value.as_bytes()));
    bin.or_else(|| word.map(|value| worded(value.as_bytes())))
}

/// The two numbers that count.
#[derive(Default)]
struct Report {
    application: Option<f64>,
    cpu: Option<f64>,
}

impl Report {
    /// Enters a pair; those of other names need only be there.
    fn enter(&mut self, name: &str, value: f64) -> Result<(), Malformed> {
        let slot = match name {
            "application_utilization" | "applicationUtilization" => &mut self.application,
            "cpu_utilization" | "cpuUtilization" => &mut self.cpu,
            _ => return Ok(()),
        };
        let fits = value.is_finite() && value >= 0.0 && slot.is_none();
        *slot = Some(value);
        fits.then_some(()).ok_or(Malformed)
    }

    fn load(&self) -> Option<f32> {
        let said = [self.application, self.cpu].into_iter().flatten();
        let load = said.map(|load| load as f32).find(|load| *load > 0.0)?;
        Some(load.min(LOAD_MAX))
    }
}

fn worded(value: &[u8]) -> Load {
    let value = std::str::from_utf8(value).map_err(|_| Malformed)?;
    match value.split_once(' ') {
        Some(("BIN", report)) => binary(report.as_bytes()),
        Some((_, report)) if report.len() > REPORT_BYTES => Err(Malformed),
        Some(("TEXT", report)) => text(report),
        Some(("JSON", report)) => json(report),
        _ => Err(Malformed),
    }
}

fn text(report: &str) -> Load {
    let mut read = Report::default();
    for pair in report.split(',') {
        let (name, value) = pair.split_once('=').ok_or(Malformed)?;
        let value = value.trim().parse().map_err(|_| Malformed)?;
        read.enter(name.trim(), value)?;
    }
    Ok(read.load())
}

fn json(report: &str) -> Load {
    let report: serde_json::Map<_, _> = serde_json::from_str(report).map_err(|_| Malformed)?;
    let mut read = Report::default();
    // What is no number is not entered, unless it should be one: others may be maps.
    for (name, value) in &report {
        read.enter(name, value.as_f64().unwrap_or(f64::NAN))?;
    }
    Ok(read.load())
}

fn binary(value: &[u8]) -> Load {
    if value.len() > REPORT_BYTES {
        return Err(Malformed);
    }
    let mut bytes: SmallVec<[u8; 128]> = SmallVec::from_elem(0, value.len());
    let length = BASE64.decode_slice(value, &mut bytes);
    let length = length.map_err(|_| Malformed)?;
    message(&bytes[..length])
}

/// Walks over a protocol buffer. The last of several values of a field counts, as everywhere there.
fn message(mut rest: &[u8]) -> Load {
    let mut read = Report::default();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let (number, kind) = (tag >> 3, tag & 7);
        match (number, kind) {
            (0, _) => return Err(Malformed),
            (CPU, 1) => read.cpu = Some(double(&mut rest)?),
            (APPLICATION, 1) => read.application = Some(double(&mut rest)?),
            (CPU | APPLICATION, _) => return Err(Malformed),
            _ => skip(kind, &mut rest)?,
        }
    }
    let sane = |value: Option<f64>| value.is_none_or(|value| value.is_finite() && value >= 0.0);
    match sane(read.cpu) && sane(read.application) {
        true => Ok(read.load()),
        false => Err(Malformed),
    }
}

fn skip(kind: u64, rest: &mut &[u8]) -> Result<(), Malformed> {
    let length = match kind {
        0 => return varint(rest).map(drop),
        1 => 8,
        2 => usize::try_from(varint(rest)?).map_err(|_| Malformed)?,
        5 => 4,
        _ => return Err(Malformed),
    };
    *rest = rest.get(length..).ok_or(Malformed)?;
    Ok(())
}

fn double(rest: &mut &[u8]) -> Result<f64, Malformed> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = behind;
    Ok(f64::from_le_bytes(*bytes))
}

/// At most ten bytes, of which the last may hold one bit.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for at in 0..10 {
        let (byte, behind) = rest.split_first().ok_or(Malformed)?;
        *rest = behind;
        if at == 9 && *byte > 1 {
            return Err(Malformed);
        }
        number |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Load = Ok(None);

    fn check(value: &str, expected: Load) {
        assert_eq!(worded(value.as_bytes()), expected, "{value}");
    }

    fn load(load: f32) -> Load {
        Ok(Some(load))
    }

    #[test]
    fn a_load_is_the_applications_or_its_processors() {
        check(
            "TEXT application_utilization=0.5,cpu_utilization=0.9",
            load(0.5),
        );
        check("TEXT cpu_utilization=0.25, mem_utilization=0.8", load(0.25));
        check(
            "TEXT application_utilization=0, cpu_utilization=0.9",
            load(0.9),
        );
        check("TEXT cpu_utilization=1e30", load(LOAD_MAX));
        check("TEXT mem_utilization=0.5,named_metrics.x=-1", NONE);
        check("TEXT cpu_utilization=0", NONE);
        check(r#"JSON {"cpu_utilization": 0.3, "eps": 1}"#, load(0.3));
        check(r#"JSON {"applicationUtilization": 1.5}"#, load(1.5));
        check(
            r#"JSON {"cpu_utilization":0.3,"named_metrics":{"a":1}}"#,
            load(0.3),
        );
        check("JSON {}", NONE);
        check("BIN", Err(Malformed));
        check("BIN ", NONE);
        // The example of the format's description.
        let example = "CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=";
        check(&format!("BIN {example}"), load(0.1));
        assert_eq!(binary(example.as_bytes()), load(0.1));
        assert_eq!(binary(example.trim_end_matches('=').as_bytes()), load(0.1));
    }

    #[test]
    fn what_is_no_report_is_not_believed_in_part_either() {
        for hostile in [
            "",
            "TEXT",
            "TEXT ",
            "text cpu_utilization=0.3",
            "cpu_utilization=0.3",
            "TEXT cpu_utilization=-1",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=inf",
            "TEXT cpu_utilization=0.3,",
            "TEXT cpu_utilization=0.3,mem_utilization",
            "TEXT cpu_utilization=0.3,mem_utilization=much",
            "TEXT cpu_utilization=0.3,cpu_utilization=0.3",
            r#"JSON {"cpu_utilization": "0.3"}"#,
            r#"JSON {"cpu_utilization": -0.3}"#,
            r#"JSON {"cpu_utilization": 1, "cpuUtilization": 1}"#,
            r#"JSON {"cpu_utilization""#,
            r#"JSON {"cpu_utilization":0.3} x"#,
            "JSON []",
            "BIN Cg==",
            "BIN CZqZmZmZmbk",
            "BIN CZqZ mZmZmbk/",
            "BIN C",
        ] {
            check(hostile, Err(Malformed));
        }
        let long = format!(
            "TEXT {},cpu_utilization=0.3",
            "a=1,".repeat(REPORT_BYTES / 4)
        );
        check(&long, Err(Malformed));
        check(
            &format!("BIN {}", "A".repeat(REPORT_BYTES + 4)),
            Err(Malformed),
        );
    }

    #[test]
    fn a_message_is_walked_over_to_its_end() {
        let half = 0.5_f64.to_le_bytes();
        let fields = |parts: &[&[u8]]| message(&parts.concat());
        let check = |parts: &[&[u8]], expected| assert_eq!(fields(parts), expected, "{parts:?}");
        check(&[], NONE);
        check(&[&[0x09], &half], load(0.5));
        check(
            &[&[0x49], &half, &[0x09], &1.0_f64.to_le_bytes()],
            load(0.5),
        );
        check(
            &[&[0x09], &9.0_f64.to_le_bytes(), &[0x09], &half],
            load(0.5),
        );
        // Others of every kind: a number, eight bytes, a string, four bytes.
        check(&[&[0x18, 0xFF, 0x01], &[0x09], &half], load(0.5));
        check(&[&[0x31], &half, &[0x09], &half], load(0.5));
        check(&[&[0x22, 2, 7, 7], &[0x09], &half], load(0.5));
        check(&[&[0x55, 0, 0, 0, 0], &[0x09], &half], load(0.5));
        check(&[&[0x09], &f64::NAN.to_le_bytes()], Err(Malformed));
        check(&[&[0x09], &(-1.0_f64).to_le_bytes()], Err(Malformed));
        check(&[&[0x08, 1]], Err(Malformed));
        check(&[&[0x01], &half], Err(Malformed));
        check(&[&[0x0B]], Err(Malformed));
        check(&[&[0x09], &half[..7]], Err(Malformed));
        check(&[&[0x22, 3, 7, 7]], Err(Malformed));
        check(&[&[0x22], &[0xFF; 9], &[0x01]], Err(Malformed));
        check(&[&[0x18], &[0xFF; 9], &[0x02]], Err(Malformed));
        check(&[&[0x18], &[0x80; 11]], Err(Malformed));
    }

    #[test]
    fn trailers_lose_their_report() {
        let mut trailers = HeaderMap::new();
        assert_eq!(take(&mut trailers), None);
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.append(
            "endpoint-load-metrics",
            "TEXT cpu_utilization=1".parse().unwrap(),
        );
        trailers.append(
            "endpoint-load-metrics",
            "TEXT cpu_utilization=2".parse().unwrap(),
        );
        assert_eq!(take(&mut trailers), Some(load(1.0)));
        assert_eq!(trailers.len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let loads = [message(&bytes), binary(&bytes), worded(&bytes)];
            for load in loads.into_iter().flatten().flatten() {
                prop_assert!(load > 0.0 && load <= LOAD_MAX);
            }
        }

        #[test]
        fn every_number_is_read_in_every_format(cpu in 0.001_f64..90.0) {
            let mut message = vec![0x09];
            message.extend_from_slice(&cpu.to_le_bytes());
            let bin = BASE64.encode(message);
            for report in [
                format!("TEXT cpu_utilization={cpu}"),
                format!("JSON {{\"cpu_utilization\":{cpu}}}"),
                format!("BIN {bin}"),
            ] {
                prop_assert_eq!(worded(report.as_bytes()), load(cpu as f32));
            }
        }
    }
}
