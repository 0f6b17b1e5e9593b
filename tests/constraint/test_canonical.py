"""Instances are written in the order of the alternative that they belong to."""

from agentflow.constraint.canonical import canonical_text


def test_of_several_alternatives_the_one_that_says_most_gives_the_order():
    """An object that fits two alternatives is written as the one that describes it; it used to be the first one."""
    described = {"properties": {"people": {"items": {"properties": {"email": {"type": "string"}, "name": {}}}}}}
    schema = {"anyOf": [{"properties": {"lang": {"type": "string"}}}, described]}
    instance = {"people": [{"name": "Ada", "email": "ada@example.com"}]}

    text = canonical_text(instance, schema)

    assert text == '{"people":[{"email":"ada@example.com","name":"Ada"}]}'
