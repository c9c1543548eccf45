#pragma once
// The tokenizer of a directory's side files as one tokenizer.json.

#include <map>
#include <string>

#include "core/json.h"

namespace lancet {

/// tokenizer.json with the tokens that the files beside it declare, else the one that
/// tokenizer.model or tiktoken ranks make; null where there is none of them. `place`: their
/// directory in messages, "" or with a slash at its end. Errors as Tokenizer::open where it has to
/// be made, else kInput for what is no JSON.
[[nodiscard]] Json whole_tokenizer_json(const std::map<std::string, std::string>& side_files,
                                        const std::string& place = "");

}  // namespace lancet
