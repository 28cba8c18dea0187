//! Port policies taken over from Azure.

use anyhow::Result;

use crate::{
    file,
    run::Host,
    story,
    transcript::{Transcript, play},
};

/// As `az security jit-policy list` prints it.
const POLICIES: &str = r#"[{
  "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/default",
  "kind": "Basic", "location": "westeurope", "name": "default", "provisioningState": "Succeeded", "requests": [],
  "type": "Microsoft.Security/locations/jitNetworkAccessPolicies",
  "virtualMachines": [
    {
      "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1", "publicIpAddress": null,
      "ports": [
        {"number": 22, "protocol": "tcp", "allowedSourceAddressPrefix": "198.51.100.0/24",
         "allowedSourceAddressPrefixes": null, "maxRequestAccessDuration": "PT1H"},
        {"number": 443, "protocol": "TCP", "allowedSourceAddressPrefix": null,
         "allowedSourceAddressPrefixes": ["2001:db8::/32", "192.0.2.7"], "maxRequestAccessDuration": "P1D"},
        {"number": 3389, "protocol": "*", "allowedSourceAddressPrefix": "*",
         "allowedSourceAddressPrefixes": null, "maxRequestAccessDuration": "PT3H"}
      ]
    },
    {
      "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm2", "publicIpAddress": null,
      "ports": [{"number": 22, "protocol": "ICMP", "allowedSourceAddressPrefix": "host", "maxRequestAccessDuration": "long"}]
    }
  ]
}]"#;

const SCRIPT: &str = "
alice request --port 22 --from 192.0.2.10 --for 10m -m test
root import azure /run/sandbox/azure.json
root import azure /run/sandbox/azure.json --vm vm3
root import azure /run/sandbox/azure.json --vm vm2
root import azure /run/sandbox/azure.json --vm vm1
root --json import azure /run/sandbox/azure.json --vm vm1
root import azure /run/sandbox/azure.json --vm vm1 --yes
root import azure /run/sandbox/azure.json --vm vm1 --apply
root import azure /run/sandbox/azure.json --vm vm1 --apply --yes
root import azure /run/sandbox/azure.json --vm vm1 --apply
root ports
";

#[test]
fn policies_of_azure_are_taken_over_in_the_same_words() -> Result<()> {
    let host = Host::start(story::config())?;
    host.net.sandbox.write("azure.json", POLICIES)?;
    let mut told = Transcript::default();
    play(&host, SCRIPT, None, &mut told)?;
    file::check("import.txt", &told.0)
}
