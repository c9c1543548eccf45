#pragma once
// What a server can do beyond plain text, found out with one small request for each route in use,
// whose answer the journal keeps, so that it is asked once.

#include "core/json.h"
#include "distill/teacher/client.h"
#include "distill/teacher/journal.h"

namespace lancet {

struct Capabilities {
  std::uint32_t top = 0;  ///< alternatives that came for one position
  bool token_ids = false;
  bool packed = false;                ///< alternatives of completions come as base64 columns
  Json fields = Json::object();       ///< what every body must carry for it
  Json completions = Json::object();  ///< and further, a body of /completions without echo
};

/// Asks for the log probabilities that `body` wants (no request when it wants none), on the chat
/// route and, where `completions` are in use, on that too. vLLM is asked for token ids and packed
/// columns; a server that refuses them is asked again without. kMismatch when no log probabilities
/// come, or fewer than wanted.
[[nodiscard]] Capabilities probe_capabilities(TeacherClient& client, const Json& body,
                                              bool completions);
/// What an earlier run of the same job found out: bodies must be the same as then for their answers
/// to be found. Asks nothing; what the journal does not know the server cannot do.
[[nodiscard]] Capabilities recall_capabilities(const Journal& journal, const std::string& model,
                                               const Json& body, bool completions);

}  // namespace lancet
