from tests.data.conftest import make_tokenizer, tokenizer  # noqa: F401 (fixtures)
