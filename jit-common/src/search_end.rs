//! The end of a search of the tables, also as a number, because the program searches in a function of its own that
//! returns a number.

use crate::reason::Reason;

/// Makes the two enums and the conversion from a number back to the enums from the same lists, so that no variant can
/// be left out.
macro_rules! search_ends {
    (
        $(#[doc = $admission_doc:literal])+ $Admission:ident { $($admitted:ident,)+ }
        $(#[doc = $refusal_doc:literal])+ $Refusal:ident { $($refused:ident),+; $last:ident }
    ) => {
        $(#[doc = $admission_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Admission {
            $(#[doc = concat!("[`Reason::", stringify!($admitted), "`].")] $admitted,)+
        }

        $(#[doc = $refusal_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Refusal {
            $(#[doc = concat!("[`Reason::", stringify!($refused), "`].")] $refused,)+
            #[doc = concat!("[`Reason::", stringify!($last), "`].")]
            $last,
        }

        impl $Admission {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$admitted,)+];

            /// The reason under which the packet is counted.
            #[inline(always)]
            #[must_use]
            pub const fn reason(self) -> Reason {
                match self {
                    $(Self::$admitted => Reason::$admitted,)+
                }
            }
        }

        impl $Refusal {
            /// All variants.
            pub const ALL: &[Self] = &[$(Self::$refused,)+ Self::$last];

            /// The reason under which the packet is counted, unless it passes for another reason.
            #[inline(always)]
            #[must_use]
            pub const fn reason(self) -> Reason {
                match self {
                    $(Self::$refused => Reason::$refused,)+
                    Self::$last => Reason::$last,
                }
            }
        }

        /// The end of the search that has this [`number`].
        ///
        /// # Errors
        /// Nothing lets the packet pass. A number that [`number`] never gives is taken for such a refusal.
        #[inline(always)]
        pub const fn of_number(number: u32) -> Result<$Admission, $Refusal> {
            $(if number == Reason::$admitted as u32 { return Ok($Admission::$admitted); })+
            $(if number == Reason::$refused as u32 { return Err($Refusal::$refused); })+
            Err($Refusal::$last)
        }
    };
}

search_ends! {
    /// What lets a packet pass.
    Admission { HostGrant, PrefixGrant, BreakGlass, }
    /// Why nothing lets a packet pass.
    Refusal { GrantExpired; NoGrant }
}

/// The number of a search's end, which is the number of its reason.
#[inline(always)]
#[must_use]
pub const fn number(end: Result<Admission, Refusal>) -> u32 {
    match end {
        Ok(admission) => admission.reason() as u32,
        Err(refusal) => refusal.reason() as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Verdict;

    #[test]
    fn every_end_of_a_search_is_told_by_its_number_and_no_other_number_lets_a_packet_pass() {
        let admissions = Admission::ALL.iter().map(|admission| Ok(*admission));
        let refusals = Refusal::ALL.iter().map(|refusal| Err(*refusal));
        let mut known = [false; 256];
        for end in admissions.chain(refusals) {
            assert_eq!(of_number(number(end)), end);
            known[number(end) as usize] = true;
            let verdict = end.map_or_else(Refusal::reason, Admission::reason).verdict();
            assert_eq!(verdict, if end.is_ok() { Verdict::Pass } else { Verdict::Drop }, "{end:?}");
        }
        assert_eq!(known.iter().filter(|known| **known).count(), Admission::ALL.len() + Refusal::ALL.len());
        for other in (0..256).filter(|number| !known[*number as usize]).chain([u32::MAX]) {
            assert!(of_number(other).is_err(), "{other}");
        }
    }
}
