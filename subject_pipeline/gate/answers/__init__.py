"""Answers of tools: whom they name, what cannot be examined, and what is left without somebody.

An answer of any shape comes in; ids come out, or the answer without the records of some people.

Examined are mappings, lists and other sequences, sets, objects with fields (dataclasses, named tuples, attrs
classes, and pydantic models as their `model_dump` says), and JSON text: an answer that is a text itself, the texts of
MCP content (a record of `type: text`, or a resource's), and any other text that is a JSON object or array.

Values, which name nobody by themselves, are numbers, dates, UUIDs, paths, addresses, enumerations, and every other
text. Everything else is opaque: bytes, iterators and generators, text where tools answer in text that is not JSON,
JSON that has a key twice, the data of MCP's images, sounds and resources, and any other object. For the gate, which
knows the prefixes of ids, that is also an id field that holds anything but ids, and text that is not JSON and yet
has an id field in it.
"""
