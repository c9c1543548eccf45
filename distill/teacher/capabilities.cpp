#include "distill/teacher/capabilities.h"

#include <functional>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

/// Answers a request now.
using AskNow = std::function<TeacherAnswer(TeacherRequest request)>;

TeacherRequest small_request(const Json& body, const Json& fields, Route route) {
  TeacherRequest out{.route = route, .body = body};
  out.body.erase("stop");
  out.body["max_tokens"] = 4;
  out.body["temperature"] = 0.0;
  if (route == Route::kChat) {
    out.body["messages"] = Json::array({{{"role", "user"}, {"content", "Say hello."}}});
  } else {
    out.body["prompt"] = "The sky is";
    out.body["logprobs"] = out.body.value("top_logprobs", 0);  // a number here, a flag there
    out.body.erase("top_logprobs");
  }
  for (const auto& [name, value] : fields.items()) out.body[name] = value;
  return out;
}

void probe_chat(const AskNow& ask, const Json& body, Capabilities& out) {
  out.fields = {{"return_token_ids", true}, {"return_tokens_as_token_ids", true}};
  TeacherAnswer answer = ask(small_request(body, out.fields, Route::kChat));
  if (answer.ending == Ending::kRejected) {
    out.fields = Json::object();
    answer = ask(small_request(body, out.fields, Route::kChat));
  }
  if (answer.ending == Ending::kUnreachable || answer.ending == Ending::kRejected)
    fail(ErrorKind::kResource, "teacher", "asked for log probabilities: " + answer.message,
         "vLLM gives at most --max-logprobs of them (20 unless it says otherwise)");
  if (answer.tokens.empty())
    fail(ErrorKind::kMismatch, "teacher", "expected log probabilities, the server gave none",
         "leave teacher.logprobs out, or use a server that has them");
  const std::uint32_t wanted = body.value("top_logprobs", 0U);
  out.top = static_cast<std::uint32_t>(answer.tokens.front().top.size());
  if (out.top < wanted)
    fail(ErrorKind::kMismatch, "teacher",
         fmt::format("expected {} alternatives for a token, the server gave {}", wanted, out.top),
         "lower teacher.logprobs");
  out.token_ids = answer.tokens.front().id >= 0;
}

/// Packed columns hold no texts; whoever does not know the field answers in JSON, which is read as
/// well.
void probe_completions(const AskNow& ask, const Json& body, Capabilities& out) {
  Json fields = out.fields;
  fields["packed_top_logprobs"] = true;
  const TeacherAnswer answer = ask(small_request(body, fields, Route::kCompletions));
  if (answer.tokens.empty() || answer.tokens.front().top.empty()) return;
  const TeacherToken::Alternative& first = answer.tokens.front().top.front();
  out.packed = first.id >= 0 && first.bytes.empty();
  if (out.packed) out.completions = {{"packed_top_logprobs", true}};
}

Capabilities probe(const AskNow& ask, const Json& body, bool completions) {
  Capabilities out;
  if (!body.contains("logprobs")) return out;
  probe_chat(ask, body, out);
  if (completions && out.token_ids && out.top > 0 && !out.fields.empty())
    probe_completions(ask, body, out);
  return out;
}

/// What the journal does not have.
struct Unknown {};

}  // namespace

Capabilities probe_capabilities(TeacherClient& client, const Json& body, bool completions) {
  const auto ask = [&client](TeacherRequest request) {
    std::optional<TeacherAnswer> out;
    client.ask(std::move(request), [&out](const TeacherAnswer& answer) { out = answer; });
    while (!out) client.pump();
    return *out;
  };
  return probe(ask, body, completions);
}

Capabilities recall_capabilities(const Journal& journal, const std::string& model, const Json& body,
                                 bool completions) {
  const auto recall = [&](const TeacherRequest& request) {
    auto found = journal.find(request_key(model, request));
    if (!found && request.route == Route::kCompletions) return TeacherAnswer{};
    if (!found) throw Unknown{};
    return std::move(*found);
  };
  try {
    return probe(recall, body, completions);
  } catch (const Unknown&) {
    return {};
  }
}

}  // namespace lancet
