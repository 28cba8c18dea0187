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


@schemathesis.check
def refusal_of_valid_data_names_a_good_reason(ctx, response, case):
    """What the schema allows is refused for what only the agent can know."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code != 422:
        return
    problem = response.json()
    # OpenAPI can't say that two parameters must be of the same family.
    families = [(one["field"], one["allowed"]) for one in problem.get("violations", [])] == [
        ("to", "an address of the source's family")
    ]
    assert problem["code"] == "policy_violation" or families, f"valid data was refused: {response.text}"
