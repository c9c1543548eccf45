#include "distill/teacher/request.h"

#include <algorithm>
#include <utility>
#include <vector>

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

/// Appends `value` with its keys in order.
void append_canonical(const Json& value, std::string& out) {
  if (value.is_object()) {
    std::vector<const Json::object_t::value_type*> members;
    for (const auto& member : value.get_ref<const Json::object_t&>()) members.push_back(&member);
    std::sort(members.begin(), members.end(),
              [](const auto* a, const auto* b) { return a->first < b->first; });
    char before = '{';
    for (const auto* member : members) {
      out += std::exchange(before, ',');
      out += dump_json(member->first);
      out += ':';
      append_canonical(member->second, out);
    }
    out += members.empty() ? "{}" : "}";
  } else if (value.is_array()) {
    char before = '[';
    for (const Json& item : value) {
      out += std::exchange(before, ',');
      append_canonical(item, out);
    }
    out += value.empty() ? "[]" : "]";
  } else {
    out += dump_json(value);
  }
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
  std::string out;
  append_canonical(value, out);
  return out;
}

std::string request_key(std::string_view model, const TeacherRequest& request) {
  return request_key(model, request, canonical_json(request.body));
}

std::string request_key(std::string_view model, const TeacherRequest& request,
                        std::string_view canonical_body) {
  // The model's name as a JSON string, so that no two different fields run into one text.
  Sha256 hash;
  hash.update(dump_json(Json(std::string(model)))).update(route_path(request.route));
  hash.update(canonical_body).update(std::to_string(request.sample));
  return hash.hex();
}

std::string wire_body(std::string_view model, std::string_view canonical_body, bool stream) {
  std::string out = "{\"model\":" + dump_json(Json(std::string(model)));
  out +=
      stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : ",\"stream\":false";
  if (canonical_body.size() > 2) out += ',';
  return out.append(canonical_body.substr(1));
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
