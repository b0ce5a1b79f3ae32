//! Countries and continents by their codes.

use crate::compile::Context;
use crate::problem::{Problem, quoted};
use crate::suggest;
use crate::yaml::Field;

/// ISO 3166-1 alpha-2, and `XK`, which databases use for Kosovo.
const COUNTRIES: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS \
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE \
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM \
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC \
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA \
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW \
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO \
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

const CONTINENTS: &str = "AF AN AS EU NA OC SA";

/// The code of a country; reported when it is none.
pub(crate) fn country(cx: &mut Context<'_>, field: &Field<String>) -> Option<[u8; 2]> {
    code(cx, field, "country", COUNTRIES)
}

/// The code of a continent; reported when it is none.
pub(crate) fn continent(cx: &mut Context<'_>, field: &Field<String>) -> Option<[u8; 2]> {
    code(cx, field, "continent", CONTINENTS)
}

fn code(cx: &mut Context<'_>, field: &Field<String>, what: &str, known: &str) -> Option<[u8; 2]> {
    let text = field.get()?.as_str();
    let found = known.split(' ').find(|code| *code == text);
    if found.is_none() {
        let message = format!("{} is no code of a {what}", quoted(text));
        let problem = Problem::error("unknown_place", message).at(field.span());
        cx.report(problem.help(hint(text, what, known)));
    }
    found?.as_bytes().try_into().ok()
}

/// Two letters are near to too many others for a guess, but for their case and two habits.
fn hint(text: &str, what: &str, known: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let meant = match upper.as_str() {
        "UK" => "GB",
        "EL" => "GR",
        other => other,
    };
    match known.split(' ').find(|code| *code == meant) {
        Some(code) => format!("did you mean `{code}`?"),
        None if what == "continent" => suggest::one_of("", known.split(' ')),
        None => "two capital letters of ISO 3166-1, like `DE`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_whole() {
        for (list, count) in [(COUNTRIES, 250), (CONTINENTS, 7)] {
            let codes: Vec<&str> = list.split(' ').collect();
            assert!(codes.is_sorted(), "{codes:?}");
            assert_eq!(codes.len(), count);
            assert!(codes.iter().all(|code| code.len() == 2));
        }
    }
}
