#include "distill/teacher/request.h"

#include <algorithm>

#include "core/hash.h"

namespace lancet {
namespace {

/// What a chat template wraps around one message, at most.
constexpr std::uint64_t kTemplateTokens = 32;

/// Bytes of all strings and eight for every other leaf.
std::uint64_t leaf_bytes(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().size();
  if (!value.is_structured()) return 8;
  std::uint64_t sum = 0;
  for (const auto& [name, item] : value.items())
    sum += leaf_bytes(item) + (value.is_object() ? name.size() : 0);
  return sum;
}

/// Bytes that become the prompt: messages and tools, or the prompt itself (text, or ids).
std::uint64_t prompt_bytes(const Json& body) {
  std::uint64_t sum = 0;
  for (const char* part : {"messages", "prompt", "tools"}) {
    const auto found = body.find(part);
    if (found == body.end()) continue;
    const bool ids = found->is_array() && !found->empty() && found->front().is_number();
    sum += ids ? found->size() : leaf_bytes(*found);
  }
  return sum;
}

std::uint64_t message_count(const Json& body) {
  const auto found = body.find("messages");
  return found == body.end() ? 0 : found->size();
}

}  // namespace

std::string_view route_path(Route route) noexcept {
  if (route == Route::kExecute) return "execute";
  return route == Route::kChat ? "/chat/completions" : "/completions";
}

std::string canonical_json(const Json& value) {
  const nlohmann::json sorted(value);
  return sorted.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string request_key(std::string_view model, const TeacherRequest& request) {
  // The model's name as a JSON string, so that no two different fields run into one text.
  Sha256 hash;
  hash.update(dump_json(Json(std::string(model)))).update(route_path(request.route));
  hash.update(canonical_json(request.body)).update(std::to_string(request.sample));
  return hash.hex();
}

std::string wire_body(std::string_view model, const TeacherRequest& request, bool stream) {
  Json body = request.body;
  body["model"] = model;
  body["stream"] = stream;
  if (stream) body["stream_options"] = {{"include_usage", true}};
  return canonical_json(body);
}

TokenBound token_bound(const TeacherRequest& request) {
  const Json& body = request.body;
  std::uint64_t completion = 0;
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    const auto found = body.find(name);
    if (found != body.end() && found->is_number_integer())
      completion = std::max(completion, found->get<std::uint64_t>());
  }
  const std::uint64_t wrapped = kTemplateTokens * (2 + message_count(body));
  return {prompt_bytes(body) + wrapped, completion};
}

std::uint64_t estimate_tokens(std::string_view text) noexcept { return (text.size() + 3) / 4; }

std::uint64_t estimate_prompt_tokens(const TeacherRequest& request) {
  return prompt_bytes(request.body) / 4 + 4 * (1 + message_count(request.body));
}

}  // namespace lancet
