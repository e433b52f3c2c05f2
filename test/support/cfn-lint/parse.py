"""Reads documents from stdin, `[{"kind": …, "text": …}]`, and prints what the parsers of their tools make of them.

template: CloudFormation, by the parser of cfn-lint. sam: the CloudFormation that SAM translates it to. hcl: Terraform."""

import json
import sys

import hcl2
from cfnlint.decode import cfn_yaml
from samtranslator.parser.parser import Parser
from samtranslator.sdk.parameter import SamParameterValues
from samtranslator.translator.translator import Translator


def sam(text):
    template = json.loads(json.dumps(cfn_yaml.loads(text)))
    SamParameterValues({}).add_default_parameter_values(template)
    return Translator({}, Parser()).translate(template, {})


parsers = {"template": cfn_yaml.loads, "sam": sam, "hcl": hcl2.loads}
json.dump([parsers[one["kind"]](one["text"]) for one in json.load(sys.stdin)], sys.stdout)
