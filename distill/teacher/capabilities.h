#pragma once
// What a server can do beyond plain text, found out with one small request whose answer the journal
// keeps, so that it is asked once.

#include "core/json.h"
#include "distill/teacher/client.h"

namespace lancet {

struct Capabilities {
  std::uint32_t top = 0;  ///< alternatives that came for one position
  bool token_ids = false;
  Json fields = Json::object();  ///< what every body must carry for it
};

/// Asks for the log probabilities that `body` wants (no request when it wants none). vLLM is asked
/// for token ids too; a server that refuses that is asked again without. kMismatch when none come,
/// or fewer than wanted.
[[nodiscard]] Capabilities probe_capabilities(TeacherClient& client, const Json& body);

}  // namespace lancet
