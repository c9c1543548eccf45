#pragma once
// Tokenizers and golden lines that the tests share (tests/oracle/make_tokenizer_goldens.py).

#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet::test {

/// Unpacks tests/data/tokenizers/NAME.tar.xz, once per process, and returns where; empty where the
/// system has no tar with xz.
const fs::path& unpacked(std::string_view name);
/// What keeps tests of stored goldens, or of the embedded model, from running here; empty: nothing.
std::string missing_for_goldens();
std::string missing_model();

/// Each line of a JSON lines file.
std::vector<Json> read_lines(const fs::path& path);

/// tokenizer.json -> tokenizer.
Tokenizer load_tokenizer(const fs::path& path);

/// The tokenizer of the embedded model, from its GGUF metadata.
Tokenizer smollm2();

/// "smollm2", "llama3" or "qwen3".
Tokenizer real_tokenizer(std::string_view name);

/// Names under synthetic/ in the goldens.
std::vector<std::string> synthetic_names();

std::vector<TokenId> ids_of(const Json& line);

}  // namespace lancet::test
