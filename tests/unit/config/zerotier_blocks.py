"""The JSON blocks of ZeroTier's multipath document, letter by letter."""

from __future__ import annotations

STANDARD = {
    "active-backup": '{ "settings": { "defaultBondingPolicy": "active-backup" } }',
    "broadcast": '{ "settings": { "defaultBondingPolicy": "broadcast" } }',
    "balance-rr": '{ "settings": { "defaultBondingPolicy": "balance-rr" } }',
    "balance-xor": '{ "settings": { "defaultBondingPolicy": "balance-xor" } }',
    "balance-aware": '{ "settings": { "defaultBondingPolicy": "balance-aware" } }',
}

RAPID = """\
{
  "settings":
  {
    "defaultBondingPolicy": "rapid-active-backup",
    "policies":
    {
      "rapid-active-backup":
      {
        "basePolicy": "active-backup",
        "failoverInterval": 1000
      }
    }
  }
}
"""

NOT_JSON = """\
{
  "settings":
  {
    "defaultBondingPolicy": "rapid-active-backup",
    "policies":
    {
      "rapid-active-backup":
      {
        "basePolicy": "active-backup",
        "failoverInterval": 1000,
        "upDelay":0-65535,
        "downDelay":0-65535,
      }
    }
  }
}
"""

LINK_SETTINGS = """\
{
  "settings": {
    "defaultBondingPolicy": "rapid-active-backup",
    "policies": {
      "rapid-active-backup": {
        "basePolicy": "active-backup",
        "failoverInterval": 1000,
        "links":
        {
          "eth0":
          {
            "ipvPref": 46,
            "failoverTo": "eth1"
          },
          "eth1":
          {
            "ipvPref": 46,
            "failoverTo": "eth2"
          },
          "eth2":
          {
            "ipvPref": 6
          }
        }
      }
    }
  }
}
"""

XOR_WITH_A_SPARE = """\
{
  "settings": {
    "defaultBondingPolicy": "xor-with-a-spare",
    "policies": {
      "xor-with-a-spare": {
        "basePolicy": "balance-xor",
        "links":
        {
          "eth0":
          {
            "mode": "spare"
          },
          "eth1":
          {
            "mode": "spare"
          },
          "expensive_lte0":
          {
            "mode": "spare"
          }
        }
      }
    }
  }
}
"""

PEER_SPECIFIC = """\
{
  "settings":
  {
    "defaultBondingPolicy": "active-backup",
    "policies":
    {
      "my-custom-balance-xor":
      {
        "failoverInterval": 2000,
        "upDelay": 5000,
        "basePolicy": "balance-xor"
      }
    },
    "peerSpecificBonds":
    {
      "f6203a2db3":"my-custom-balance-xor",
      "45b0301da2":"my-custom-balance-xor",
      "a92cb526fa":"my-custom-balance-xor"
    }
  }
}
"""

MISPLACED = """\
{
  "settings":
  {
    "defaultBondingPolicy": "custom-active-backup",
    "custom-active-backup":
    {
      "linkSelectMethod": "always",
      "failoverInterval": 5000,
      "links":
      {
        "eth0": { "failoverTo": "eth1", "mode": "primary" },
        "eth1": { "mode": "spare" },
        "eth2": { "mode": "spare" },
        "eth3": { "mode": "spare" }
      }
    }
  }
}
"""

BALANCE_AWARE = """\
{
  "settings":
  {
    "defaultBondingPolicy": "custom-balance-aware",
    "policies":
    {
      "custom-balance-aware":
      {
        "basePolicy": "balance-aware",
        "failoverInterval": 5000,
        "linkQuality": {
          "lat_max" : 400.0,
          "pdv_max" : 20.0,
          "plr_max" : 0.0001,
          "per_max" : 0.0001,
          "lat_weight" : 0.5,
          "pdv_weight" : 0.5,
          "plr_weight" : 0.0,
          "per_weight" : 0.0
        },
        "links": {
          "wlan0": { "capacity": 250 },
          "eth0": { "capacity": 1000  }
        }
      }
    }
  }
}
"""

CAPACITIES = """\
{
  "settings":
  {
    "defaultBondingPolicy": "custom-balance-aware",
    "policies":
    {
      "custom-balance-aware":
      {
        "basePolicy": "balance-aware",
        "links": {
          "eth0": { "capacity": 10000 },
          "eth1": { "capacity": 1000  },
          "eth2": { "capacity": 100   }
        }
      }
    }
  }
}
"""
