"""Text in, object out: whatever the model believes, what it commits is valid against the schema.

python examples/decode_schema.py --model embedded
"""

from argparse import ArgumentParser
from typing import Any, Literal

from pydantic import BaseModel

from agentflow import GenerationSettings, Model, load_model


class Invoice(BaseModel):
    customer: str
    total: float
    currency: Literal["EUR", "USD", "GBP", "JPY", "CHF"]
    due: str


CONTACT = {  # a plain JSON Schema does as well
    "type": "object",
    "properties": {"name": {"type": "string"}, "email": {"type": "string"}},
    "required": ["name", "email"],
}


def main(model: Model) -> tuple[Invoice, Any]:
    settings = GenerationSettings(seed=0)
    invoice = model.decode_sync(
        Invoice, "Extract the invoice: Harbour Supplies owes 1249.5 EUR, due 2026-04-30.", settings=settings
    )
    print(invoice)
    contact = model.decode_sync(
        CONTACT, "Extract the contact: Ada Moore works in Leeds. Mail: ada.moore@example.org", settings=settings
    )
    print(contact)
    return invoice, contact


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded", help="'embedded', a folder or the name of a checkpoint")
    with load_model(parser.parse_args().model) as loaded:
        main(loaded)
