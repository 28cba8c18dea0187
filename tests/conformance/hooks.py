"""What schemathesis can't know of this API by itself."""

import ipaddress

import schemathesis
from hypothesis import strategies as st

# Neither link-local nor IPv4-mapped: see parse_source in the agent.
ADDRESSES = st.one_of(
    st.ip_addresses(network="198.51.100.0/24"),
    st.ip_addresses(network="2001:db8::/32"),
)


@st.composite
def prefixes(draw):
    address = draw(ADDRESSES)
    length = draw(st.integers(min_value=16, max_value=address.max_prefixlen))
    return str(ipaddress.ip_network((address, length), strict=False))


DURATIONS = st.builds(
    lambda hours, minutes, seconds: f"PT{hours}H{minutes}M{seconds}S",
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(1, 59),
)

schemathesis.openapi.format("ip", ADDRESSES.map(str))
schemathesis.openapi.format("ip-prefix", st.one_of(ADDRESSES.map(str), prefixes()))
schemathesis.openapi.format("duration", DURATIONS)


# What OpenAPI can't say: parameters that depend on each other, and bounds of durations.
UNSAYABLE = {
    ("to", "an address of the source's family"),
    ("until", "later than since"),
    ("limit", "none: as csv or jsonl all rows come at once"),
    ("maxRequestAccessDuration", "PT5M to PT24H"),
    ("approvalTimeout", "PT1M to P7D"),
    ("trial", "PT10S to PT1H"),
    ("grant", "PT1M to PT24H"),
}


@schemathesis.check
def refusal_of_valid_data_names_a_good_reason(ctx, response, case):
    """What the schema allows is refused for what only the agent can know."""
    # A case that tries a good body may have a bad header all the same.
    if case.meta is None or not all(part.mode.is_positive for part in case.meta.components.values()):
        return
    if response.status_code != 422:
        return
    problem = response.json()
    violations = {(one["field"], one["allowed"]) for one in problem.get("violations", [])}
    unsayable = problem["code"] == "invalid_value" and violations and violations <= UNSAYABLE
    of_state = problem["code"] in ("policy_violation", "key_reused")
    assert of_state or unsayable, f"valid data was refused: {response.text}"
