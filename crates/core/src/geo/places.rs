//! Which countries there are, and on which continent each lies.
//!
//! Some databases tell only the country, and rules may ask for the continent. Where a country lies on
//! two, it is on the one where geographic databases put it.

/// A country (ISO 3166-1, two capital letters) or a continent (`AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`).
pub type Code = [u8; 2];

/// The continents with their countries: ISO 3166-1 alpha-2, and `XK`, which stands for Kosovo in
/// practice.
const CONTINENTS: [(&str, &str); 7] = [
    (
        "AF",
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR \
         MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", "AQ BV GS HM TF"),
    (
        "AS",
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN \
         MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU \
         LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM \
         PR SV SX TC TT US VC VG VI",
    ),
    (
        "OC",
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    ("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// Two letters as a code in capitals; none of anything else.
pub fn code(text: &str) -> Option<Code> {
    let code: Code = text.as_bytes().try_into().ok()?;
    let letters = code.iter().all(u8::is_ascii_alphabetic);
    letters.then(|| code.map(|letter| letter.to_ascii_uppercase()))
}

/// The codes of all continents, sorted.
pub fn continents() -> impl Iterator<Item = &'static str> {
    CONTINENTS.into_iter().map(|(continent, _)| continent)
}

/// Whether there is a continent of this code.
pub fn is_continent(code: Code) -> bool {
    continents().any(|continent| continent.as_bytes() == code)
}

/// The continent of a country; none if there is no such country.
pub fn continent_of(country: Code) -> Option<Code> {
    let has = |countries: &str| {
        let mut codes = countries.split_ascii_whitespace();
        codes.any(|code| code.as_bytes() == country)
    };
    let (continent, _) = CONTINENTS.iter().find(|(_, countries)| has(countries))?;
    code(continent)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_country_is_on_one_continent() {
        let all = CONTINENTS
            .iter()
            .flat_map(|(_, countries)| countries.split_ascii_whitespace());
        let codes: Vec<_> = all.collect();
        let distinct: BTreeSet<_> = codes.iter().copied().collect();
        assert_eq!(codes.len(), 250, "ISO 3166-1 has 249, and there is Kosovo");
        assert_eq!(distinct.len(), codes.len());
        assert!(
            codes
                .iter()
                .all(|text| code(text).is_some_and(|code| code == text.as_bytes()))
        );
    }

    #[test]
    fn countries_and_continents_are_told_apart() {
        let check = |country: &str, expected: Option<&str>| {
            let found = code(country).and_then(continent_of);
            assert_eq!(found, expected.and_then(code), "{country}");
        };
        check("DE", Some("EU"));
        check("us", Some("NA"));
        check("NA", Some("AF"));
        check("AQ", Some("AN"));
        check("UK", None);
        check("EU", None);
        check("DEU", None);
        check("D ", None);
        check("Ü", None);
        assert!(
            continents().is_sorted() && continents().all(|one| code(one).is_some_and(is_continent))
        );
        assert!(is_continent(*b"NA") && is_continent(*b"EU") && !is_continent(*b"DE"));
    }
}
