#include "distill/teacher/parse.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

/// Tokens that a server's own chat template may add unseen (a system prompt, tools).
constexpr std::uint64_t kHiddenPrompt = 8192;

template <std::size_t N>
bool is_one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

/// A member that may be absent, null or a string.
std::string text_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Content as a string, null, {"text":...}, or an array of {"type":"text","text":...}.
std::string content_text(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (content.is_object()) return text_in(content, "text");
  std::string out;
  if (content.is_array()) {
    for (const Json& part : content) {
      if (part.is_object()) out += text_in(part, "text");
    }
  }
  return out;
}

Ending ending_of(std::string_view finish, const TeacherAnswer& answer, bool refused,
                 std::uint64_t max_tokens) {
  constexpr std::array<std::string_view, 4> kCut{"length", "max_tokens", "model_length",
                                                 "max_output_tokens"};
  constexpr std::array<std::string_view, 4> kFiltered{"content_filter", "safety", "SAFETY",
                                                      "recitation"};
  if (is_one_of(finish, kCut)) return Ending::kLength;
  if (is_one_of(finish, kFiltered)) return Ending::kContentFilter;
  if (refused || finish == "refusal") return Ending::kRefusal;
  const bool silent = finish.empty() && !answer.usage.estimated && max_tokens > 0 &&
                      answer.usage.completion >= max_tokens;
  if (silent) return Ending::kLength;  // a server that does not say why it stopped, at the limit
  const bool blank = answer.text.find_first_not_of(" \t\r\n") == std::string::npos;
  if (blank && answer.tool_calls.is_null() && answer.prompt_tokens.empty()) return Ending::kEmpty;
  return Ending::kOk;
}

/// The server's own usage, where it can be true.
std::optional<TeacherUsage> told_usage(const Json& document, std::size_t positions,
                                       const TeacherRequest& request) {
  const TokenBound bound = token_bound(request);
  const auto usage = document.find("usage");
  if (usage == document.end() || !usage->is_object()) return std::nullopt;
  const auto count = [&usage](const char* name) -> std::int64_t {
    const auto found = usage->find(name);
    return found != usage->end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
  };
  const std::int64_t prompt = count("prompt_tokens"), completion = count("completion_tokens");
  const std::uint64_t most = std::max<std::uint64_t>(bound.completion, positions) + 1;
  const bool credible = prompt >= 0 && completion >= 0 &&
                        static_cast<std::uint64_t>(prompt) <= bound.prompt + kHiddenPrompt &&
                        (bound.completion == 0 || static_cast<std::uint64_t>(completion) <= most);
  if (!credible) return std::nullopt;
  TeacherUsage out{.prompt = static_cast<std::uint64_t>(prompt),
                   .completion = static_cast<std::uint64_t>(completion)};
  const auto details = usage->find("prompt_tokens_details");
  if (details != usage->end() && details->is_object()) {
    const auto cached = details->find("cached_tokens");
    if (cached != details->end() && cached->is_number_unsigned())
      out.cached = std::min(out.prompt, cached->get<std::uint64_t>());
  }
  return out;
}

TeacherUsage estimated_usage(const TeacherAnswer& answer, const TeacherRequest& request) {
  const std::uint64_t said = answer.tokens.empty()
                                 ? estimate_tokens(answer.text) + estimate_tokens(answer.reasoning)
                                 : answer.tokens.size();
  return {.prompt = estimate_prompt_tokens(request), .completion = said, .estimated = true};
}

void read_message(const Json& message, TeacherAnswer& out, bool& refused) {
  if (const auto content = message.find("content"); content != message.end())
    out.text = content_text(*content);
  out.reasoning = text_in(message, "reasoning_content");
  if (out.reasoning.empty()) out.reasoning = text_in(message, "reasoning");
  const auto calls = message.find("tool_calls");
  if (calls != message.end() && calls->is_array() && !calls->empty()) out.tool_calls = *calls;
  const std::string refusal = text_in(message, "refusal");
  refused = !refusal.empty();
  if (refused) out.message = refusal;
}

std::vector<std::int64_t> ids_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return {};
  return found->get<std::vector<std::int64_t>>();
}

/// With echo, the answer's positions begin with those of the prompt: as many as usage says, or as
/// many as its bytes fill (names of ids instead of texts fill nothing that can be counted).
void split_echo(const TeacherRequest& request, const std::optional<TeacherUsage>& told,
                TeacherAnswer& out) {
  const auto echo = request.body.find("echo");
  if (echo == request.body.end() || *echo != true) return;
  const auto prompt = request.body.find("prompt");
  if (prompt == request.body.end() || !prompt->is_string()) return;
  const std::string& text = prompt->get_ref<const std::string&>();
  std::size_t bytes = 0, count = 0;
  if (told && told->prompt + told->completion == out.tokens.size()) {
    count = told->prompt;
  } else {
    while (count < out.tokens.size() && bytes < text.size())
      bytes += out.tokens[count++].bytes.size();
  }
  const auto cut = out.tokens.begin() + static_cast<std::ptrdiff_t>(count);
  out.prompt_tokens.assign(out.tokens.begin(), cut);
  out.tokens.erase(out.tokens.begin(), cut);
  if (out.text.starts_with(text)) out.text.erase(0, text.size());
}

/// vLLM's prompt_logprobs stand in the choice of a completion, but beside the choices of a chat.
void read_scored_prompt(const Json& choice, const Json& document, TeacherAnswer& out) {
  for (const Json* place : {&choice, &document}) {
    const auto scored = place->find("prompt_logprobs");
    if (scored == place->end() || !scored->is_array()) continue;
    out.prompt_tokens = parse_prompt_logprobs(*scored, ids_in(*place, "prompt_token_ids"));
    return;
  }
}

/// Ids that came apart (return_token_ids) belong to the positions where those have none.
void place_ids(TeacherAnswer& out) {
  if (out.ids.size() != out.tokens.size()) return;
  for (std::size_t i = 0; i < out.ids.size(); ++i) {
    if (out.tokens[i].id < 0) out.tokens[i].id = out.ids[i];
  }
  out.ids.clear();  // the positions hold them
}

TeacherAnswer read_choice(const Json& choice, const Json& document, const TeacherRequest& request) {
  TeacherAnswer out;
  bool refused = false;
  if (const auto message = choice.find("message"); message != choice.end() && message->is_object())
    read_message(*message, out, refused);
  else
    out.text = text_in(choice, "text");
  if (const auto found = choice.find("logprobs"); found != choice.end() && !found->is_null())
    out.tokens = parse_logprobs(*found);
  const auto told = told_usage(document, out.tokens.size(), request);
  read_scored_prompt(choice, document, out);
  if (out.prompt_tokens.empty()) split_echo(request, told, out);
  out.ids = ids_in(choice, "token_ids");
  place_ids(out);
  for (const auto* tokens : {&out.tokens, &out.prompt_tokens}) {
    if (const auto problem = logprobs_problem(*tokens))
      fail(ErrorKind::kInput, "teacher", "logprobs: " + *problem);
  }
  out.finish = text_in(choice, "finish_reason");
  out.model = text_in(document, "model");
  out.fingerprint = text_in(document, "system_fingerprint");
  out.usage = told ? *told : estimated_usage(out, request);
  out.ending = ending_of(out.finish, out, refused, token_bound(request).completion);
  return out;
}

/// The Llama API's own shape, {"completion_message":{"content":{"text"},"stop_reason"}}, as
/// choices.
Json as_choice(const Json& message) {
  return {{"message", message}, {"finish_reason", text_in(message, "stop_reason")}};
}

Parsed malformed(std::string message) {
  return {.kind = Parsed::Kind::kMalformed, .message = std::move(message)};
}

long status_in(const Json& error) {
  for (const char* name : {"code", "status"}) {
    const auto found = error.find(name);
    if (found != error.end() && found->is_number_integer()) return found->get<long>();
  }
  return 500;
}

}  // namespace

Parsed parse_document(const Json& document, const TeacherRequest& request) {
  if (!document.is_object()) return malformed("the response is no JSON object");
  const auto error = document.find("error");
  const bool failed = error != document.end() && !error->is_null();
  if (failed || text_in(document, "object") == "error") {
    const Json& body = failed && error->is_object() ? *error : document;
    return {.kind = Parsed::Kind::kServerError,
            .status = status_in(body),
            .message = error_message(dump_json(document))};
  }
  const auto choices = document.find("choices");
  const auto message = document.find("completion_message");
  if (choices != document.end() && choices->is_array() && !choices->empty())
    return {.kind = Parsed::Kind::kAnswer,
            .answer = read_choice(choices->front(), document, request)};
  if (message != document.end() && message->is_object())
    return {.kind = Parsed::Kind::kAnswer,
            .answer = read_choice(as_choice(*message), document, request)};
  return malformed("the response has no choices");
}

Parsed parse_answer(std::string_view body, const TeacherRequest& request) {
  try {
    return parse_document(parse_json(body, "response"), request);
  } catch (const Error& error) {
    return malformed(error.message());
  } catch (const nlohmann::json::exception& error) {  // a member of an unexpected type
    return malformed(error.what());
  }
}

Parsed parse_response(std::string_view content_type, std::string_view body,
                      const TeacherRequest& request) {
  if (content_type.starts_with("text/event-stream")) return parse_stream(body, request);
  Parsed out = parse_answer(body, request);
  if (out.kind == Parsed::Kind::kMalformed && content_type.find("json") == std::string_view::npos)
    out.message =
        fmt::format("expected JSON, found content type '{}'", printable(content_type, 60));
  return out;
}

std::string error_message(std::string_view body) {
  try {
    const Json document = parse_json(body, "error");
    if (document.is_object()) {
      const auto error = document.find("error");
      if (error != document.end() && error->is_string())
        return printable(error->get_ref<const std::string&>(), 200);
      const Json& inner = error != document.end() && error->is_object() ? *error : document;
      for (const char* name : {"message", "detail"}) {
        const auto found = inner.find(name);
        if (found != inner.end())
          return printable(found->is_string() ? found->get<std::string>() : dump_json(*found), 200);
      }
    }
  } catch (const Error&) {  // not JSON: its first bytes say what it is
  }
  return printable(body.substr(0, 200), 200);
}

}  // namespace lancet
