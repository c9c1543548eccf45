// parse_stream of distill/teacher/parse.h: events to the document of an unstreamed response.

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/teacher/parse.h"
#include "distill/teacher/sse.h"

namespace lancet {
namespace {

class StreamDocument {
 public:
  /// One chunk of the stream.
  void add(const Json& chunk) {
    for (const char* name : {"model", "system_fingerprint"}) {
      const auto found = chunk.find(name);
      if (found != chunk.end() && found->is_string()) document_[name] = *found;
    }
    for (const char* name : {"prompt_logprobs", "prompt_token_ids"}) {
      const auto found = chunk.find(name);
      if (found != chunk.end() && found->is_array()) document_[name] = *found;
    }
    const auto usage = chunk.find("usage");
    if (usage != chunk.end() && usage->is_object()) document_["usage"] = *usage;
    const auto choices = chunk.find("choices");
    if (choices == chunk.end() || !choices->is_array() || choices->empty()) return;
    add_choice(choices->front());
  }

  [[nodiscard]] bool finished() const { return choice_.contains("finish_reason"); }

  [[nodiscard]] Json take() {
    document_["choices"] = Json::array({choice_});
    return std::move(document_);
  }

 private:
  Json document_ = Json::object();
  Json choice_ = Json::object();

  static void append(Json& object, const char* name, const Json& piece) {
    if (!piece.is_string()) return;
    if (!object.contains(name)) object[name] = "";
    object[name].get_ref<std::string&>() += piece.get_ref<const std::string&>();
  }

  void add_choice(const Json& piece) {
    if (finished()) return;  // what repeats after the end is no part of the answer
    if (const auto text = piece.find("text"); text != piece.end()) append(choice_, "text", *text);
    if (const auto delta = piece.find("delta"); delta != piece.end() && delta->is_object())
      add_delta(*delta);
    if (const auto found = piece.find("logprobs"); found != piece.end() && found->is_object())
      add_logprobs(*found);
    if (const auto ids = piece.find("token_ids"); ids != piece.end() && ids->is_array())
      extend(choice_["token_ids"], *ids);
    for (const char* name : {"prompt_logprobs", "prompt_token_ids"}) {
      const auto found = piece.find(name);
      if (found != piece.end() && found->is_array()) choice_[name] = *found;
    }
    const auto finish = piece.find("finish_reason");
    if (finish != piece.end() && finish->is_string()) choice_["finish_reason"] = *finish;
  }

  void add_delta(const Json& delta) {
    Json& message = choice_["message"];
    if (message.is_null()) message = Json::object();
    for (const char* name : {"content", "reasoning_content", "reasoning", "refusal"}) {
      const auto found = delta.find(name);
      if (found != delta.end()) append(message, name, *found);
    }
    const auto calls = delta.find("tool_calls");
    if (calls == delta.end() || !calls->is_array()) return;
    for (const Json& call : *calls) add_call(message["tool_calls"], call);
  }

  /// Name and id come with a call's first piece; its arguments come in pieces.
  static void add_call(Json& calls, const Json& piece) {
    const auto index = static_cast<std::size_t>(json_int(piece, "index", "tool call", 0));
    if (index > 1024) fail(ErrorKind::kInput, "teacher", "more than 1024 tool calls");
    if (calls.is_null()) calls = Json::array();
    while (calls.size() <= index)
      calls.push_back({{"type", "function"}, {"function", Json::object()}});
    Json& call = calls[index];
    if (const auto id = piece.find("id"); id != piece.end() && id->is_string()) call["id"] = *id;
    const auto function = piece.find("function");
    if (function == piece.end() || !function->is_object()) return;
    for (const char* name : {"name", "arguments"}) {
      const auto found = function->find(name);
      if (found != function->end()) append(call["function"], name, *found);
    }
  }

  static void extend(Json& list, const Json& more) {
    if (list.is_null()) list = Json::array();
    for (const Json& each : more) list.push_back(each);
  }

  void add_logprobs(const Json& piece) {
    Json& all = choice_["logprobs"];
    if (all.is_null()) all = Json::object();
    for (const char* name : {"content", "tokens", "token_logprobs", "top_logprobs"}) {
      const auto found = piece.find(name);
      if (found != piece.end() && found->is_array()) extend(all[name], *found);
    }
    const auto packed = piece.find("packed_top_logprobs");
    if (packed != piece.end() && packed->is_object())
      extend(all["packed_top_logprobs"], Json::array({*packed}));
  }
};

/// Where the server tells tokens and log probabilities, their number must agree: a repeated or lost
/// chunk shows. (The end-of-text token may be in one and not in the other.)
bool counts_agree(const Parsed& parsed) {
  const TeacherAnswer& answer = parsed.answer;
  if (answer.tokens.empty() || answer.usage.estimated) return true;
  const auto counted = answer.usage.completion;
  return answer.tokens.size() <= counted + 1 && counted <= answer.tokens.size() + 2;
}

}  // namespace

Parsed parse_stream(std::string_view body, const TeacherRequest& request) {
  EventParser parser;
  StreamDocument document;
  bool done = false;
  std::string last_id;
  try {
    for (const ServerEvent& event : parser.feed(body)) {
      if (event.data == "[DONE]") {
        done = true;
        break;
      }
      if (!event.id.empty() && event.id == last_id) continue;  // sent twice
      last_id = event.id;
      const Json chunk = parse_json(event.data, "event");
      const auto error = chunk.is_object() ? chunk.find("error") : chunk.end();
      if (event.type == "error" || (error != chunk.end() && !error->is_null()))
        return parse_answer(event.data, request);
      if (chunk.is_object()) document.add(chunk);
    }
    if (!document.finished())
      return {.kind = Parsed::Kind::kMalformed,
              .message = done ? "the stream gave no finish_reason" : "the stream was cut"};
    Parsed out = parse_document(document.take(), request);
    if (out.kind == Parsed::Kind::kAnswer && !counts_agree(out))
      return {.kind = Parsed::Kind::kMalformed,
              .message = fmt::format("{} log probabilities for {} tokens", out.answer.tokens.size(),
                                     out.answer.usage.completion)};
    return out;
  } catch (const Error& error) {
    return {.kind = Parsed::Kind::kMalformed, .message = error.message()};
  } catch (const nlohmann::json::exception& error) {
    return {.kind = Parsed::Kind::kMalformed, .message = error.what()};
  }
}

}  // namespace lancet
