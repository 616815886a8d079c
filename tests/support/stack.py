"""template.yaml as CloudFormation sees it: translated by SAM, with the intrinsic functions evaluated.

Values that only a deployment knows (an ARN, an id) stand in angle brackets: `<Cluster.Endpoint.Address>`. Nested stacks
are evaluated, too, so that tests see which values one passes to another. A reference to a missing resource, a parameter
that a nested stack does not declare or does not get, and an output that it does not have are errors.
"""

import copy
import json
import os
import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import samtranslator.yaml_helper
from samtranslator.translator.transform import transform

ROOT = Path(__file__).parents[2]

REGION = "eu-central-1"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:123456789012:stack/ledger/51af3dc0-da77-11e4-872e-1234567db123",
    "AWS::StackName": "ledger",
    "AWS::URLSuffix": "amazonaws.com",
}

SHAPES = {
    "DBProxyArn": f"arn:aws:rds:{REGION}:123456789012:db-proxy:prx-0123456789abcdef0",
    "ProviderURL": f"https://cognito-idp.{REGION}.amazonaws.com/{REGION}_Aa1Bb2Cc3",
    "DomainName": "{resource}.s3.amazonaws.com",
    "RegionalDomainName": f"{{resource}}.s3.{REGION}.amazonaws.com",
}
"""Values of the attributes that templates split, or functions check, by name. `{resource}` is whose it is."""

REFERENCES = {"OperatorDomain": "ledger-1234567db123"}
"""Values of the references that functions check, by name."""

_NOTHING = object()  # the value of AWS::NoValue: its property is removed


def read(path: str) -> dict[str, Any]:
    """Read a template of the repository, and expand the short forms of intrinsic functions."""
    parsed: dict[str, Any] = samtranslator.yaml_helper.yaml_parse((ROOT / path).read_text("utf-8"))
    return parsed


def translated(parameters: Mapping[str, str], code: str = "a") -> dict[str, Any]:
    """Translate template.yaml as CloudFormation does before it deploys. `code` stands for the packages' content."""
    template = read("template.yaml")
    template["Globals"]["Function"]["CodeUri"] = f"s3://artefacts/{code}"
    values = {name: parameters.get(name, declared["Default"]) for name, declared in template["Parameters"].items()}
    region = os.environ.get("AWS_DEFAULT_REGION")
    os.environ["AWS_DEFAULT_REGION"] = REGION  # the translator asks boto3 for it
    try:
        result: dict[str, Any] = json.loads(json.dumps(transform(template, values, _NoManagedPolicies())))
    finally:
        del os.environ["AWS_DEFAULT_REGION"]
        if region is not None:
            os.environ["AWS_DEFAULT_REGION"] = region
    return result


@cache
def _deployed(code: str, parameters: tuple[tuple[str, str], ...]) -> "Stack":
    return Stack(translated(dict(parameters), code), dict(parameters))


class _NoManagedPolicies:
    def load(self) -> dict[str, str]:
        """Return no names of AWS's managed policies, since no template uses one."""
        return {}


class Stack:
    """A template with its parameters.

    Parameters
    ----------
    template
        The template, without SAM's resource types.
    parameters
        Values by name. The other parameters have their defaults.
    """

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
        self._template = template
        declared = template.get("Parameters", {})
        if unknown := parameters.keys() - declared.keys():
            raise KeyError(f"there are no parameters {sorted(unknown)}")
        given = {name: parameters[name] if name in parameters else what["Default"] for name, what in declared.items()}
        self._parameters = {
            name: str(value).split(",") if "List" in declared[name]["Type"] else value for name, value in given.items()
        }

    @classmethod
    def deployed(cls, code: str = "a", **parameters: str) -> "Stack":
        """Return template.yaml with these parameters. Tests share the stack, and must not change it."""
        return _deployed(code, tuple(sorted(parameters.items())))

    @cached_property
    def resources(self) -> dict[str, Any]:
        """The resources whose conditions hold."""
        return {
            name: {**resource, "Properties": self._value(resource.get("Properties", {}))}
            for name, resource in self._template["Resources"].items()
            if self._is_there(resource)
        }

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs whose conditions hold."""
        outputs = self._template.get("Outputs", {})
        return {name: self._value(output["Value"]) for name, output in outputs.items() if self._is_there(output)}

    @cached_property
    def nested(self) -> dict[str, "Stack"]:
        """The nested stacks, by logical id."""
        return {name: self._nested(name) for name in self.of_type("AWS::CloudFormation::Stack")}

    def of_type(self, kind: str) -> dict[str, Any]:
        """Return the properties of all resources of a type, by logical id."""
        return {name: one["Properties"] for name, one in self.resources.items() if one["Type"] == kind}

    def needs(self, name: str) -> set[str]:
        """Return the logical ids of the resources that CloudFormation makes or changes before this one."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in self._named_in(self._template["Resources"][waiting.pop()]) - found:
                found.add(other)
                waiting.append(other)
        return found

    def _named_in(self, resource: Mapping[str, Any]) -> set[str]:
        depends = resource.get("DependsOn", [])
        references = re.findall(r'"Ref": "(\w+)"|"Fn::GetAtt": \["(\w+)"|\$\{(\w+)', json.dumps(resource))
        named = {depends} if isinstance(depends, str) else set(depends)
        named.update(*references)
        return named.intersection(self._template["Resources"])

    def _is_there(self, what: Mapping[str, Any]) -> bool:
        return "Condition" not in what or self._condition(what["Condition"])

    def _condition(self, name: str) -> bool:
        return self._truth(self._template["Conditions"][name])

    def _truth(self, expression: Any) -> bool:
        [(function, argument)] = expression.items()
        if function == "Condition":
            return self._condition(argument)
        if function == "Fn::Equals":
            left, right = (self._value(side) for side in argument)
            return str(left) == str(right)
        return {"Fn::Not": lambda each: not each[0], "Fn::And": all, "Fn::Or": any}[function](
            [self._truth(each) for each in argument]
        )

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [one for one in map(self._value, value) if one is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            if function == "Ref":
                return self._reference(argument)
            if function.startswith("Fn::"):
                return self._call(function, argument)
        worked_out = ((name, self._value(one)) for name, one in value.items())
        return {name: one for name, one in worked_out if one is not _NOTHING}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self._parameters:
            return copy.deepcopy(self._parameters[name])
        if name in PSEUDO_PARAMETERS:
            return PSEUDO_PARAMETERS[name]
        self._require(name)
        return REFERENCES.get(name, f"<{name}>")

    def _attribute(self, name: str, attribute: str) -> Any:
        self._require(name)
        if attribute.startswith("Outputs."):
            return self._nested(name).outputs[attribute.removeprefix("Outputs.")]
        return SHAPES.get(attribute, f"<{name}.{attribute}>").replace("{resource}", name.lower())

    def _require(self, name: str) -> None:
        if not self._is_there(self._template["Resources"][name]):
            raise KeyError(f"{name} is not made under these conditions")

    def _nested(self, name: str) -> "Stack":
        properties = self._value(self._template["Resources"][name]["Properties"])
        return Stack(read(properties["TemplateURL"]), properties.get("Parameters", {}))

    def _call(self, function: str, argument: Any) -> Any:
        if function == "Fn::If":
            condition, then, otherwise = argument
            return self._value(then if self._condition(condition) else otherwise)
        if function == "Fn::GetAtt":
            name, attribute = argument.split(".", 1) if isinstance(argument, str) else (argument[0], argument[1])
            return self._attribute(name, attribute)
        if function == "Fn::Sub":
            text, variables = argument if isinstance(argument, list) else (argument, {})
            return re.sub(r"\$\{([^}]+)\}", lambda match: self._substitute(match[1], variables), text)
        if function == "Fn::Join":
            separator, parts = argument
            return separator.join(str(part) for part in self._value(parts))
        if function == "Fn::Split":
            separator, text = argument
            return self._value(text).split(separator)
        if function == "Fn::Select":
            index, parts = argument
            return self._value(parts)[int(index)]
        if function == "Fn::GetAZs":
            return [f"{REGION}{zone}" for zone in "abc"]
        if function == "Fn::Cidr":
            block, count, bits = (self._value(one) for one in argument)
            return [f"<part {number} of {count} of {block}, {bits} bits>" for number in range(int(count))]
        raise NotImplementedError(function)

    def _substitute(self, name: str, variables: Mapping[str, Any]) -> str:
        if name in variables:
            return str(self._value(variables[name]))
        if "." in name:
            return str(self._attribute(*name.split(".", 1)))
        return str(self._reference(name))
