#include "distill/teacher/capabilities.h"

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

TeacherAnswer ask_now(TeacherClient& client, TeacherRequest request) {
  std::optional<TeacherAnswer> out;
  client.ask(std::move(request), [&out](const TeacherAnswer& answer) { out = answer; });
  while (!out) client.pump();
  return *out;
}

TeacherRequest small_request(const Json& body, const Json& fields) {
  TeacherRequest out;
  out.body = body;
  out.body.erase("stop");
  out.body["max_tokens"] = 4;
  out.body["temperature"] = 0.0;
  out.body["messages"] = Json::array({{{"role", "user"}, {"content", "Say hello."}}});
  for (const auto& [name, value] : fields.items()) out.body[name] = value;
  return out;
}

}  // namespace

Capabilities probe_capabilities(TeacherClient& client, const Json& body) {
  Capabilities out;
  if (!body.contains("logprobs")) return out;
  out.fields = {{"return_tokens_as_token_ids", true}};
  TeacherAnswer answer = ask_now(client, small_request(body, out.fields));
  if (answer.ending == Ending::kRejected) {
    out.fields = Json::object();
    answer = ask_now(client, small_request(body, out.fields));
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
  return out;
}

}  // namespace lancet
