#include "distill/teacher/answer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 7> kNames{"ok",    "length",   "content_filter", "refusal",
                                                 "empty", "rejected", "unreachable"};

Json usage_json(const TeacherUsage& usage) {
  Json out{{"prompt", usage.prompt}, {"completion", usage.completion}};
  if (usage.cached != 0) out["cached"] = usage.cached;
  if (usage.estimated) out["estimated"] = true;
  return out;
}

std::uint64_t count_of(const Json& json, const char* name) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, json_int(json, name, "usage", 0)));
}

TeacherUsage usage_from_json(const Json& json) {
  return {count_of(json, "prompt"), count_of(json, "cached"), count_of(json, "completion"),
          json_bool(json, "estimated", "usage", false)};
}

}  // namespace

std::string_view ending_name(Ending ending) noexcept {
  return kNames[static_cast<std::size_t>(ending)];
}

Ending parse_ending(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end())
    fail(ErrorKind::kInput, "journal", fmt::format("'{}' is no ending", printable(name)));
  return static_cast<Ending>(found - kNames.begin());
}

Json answer_json(const TeacherAnswer& answer) {
  Json out{{"ending", ending_name(answer.ending)}};
  const auto put = [&out](const char* name, const std::string& text) {
    if (!text.empty()) out[name] = text;
  };
  put("text", answer.text);
  put("reasoning", answer.reasoning);
  if (!answer.tool_calls.is_null()) out["tool_calls"] = answer.tool_calls;
  put("finish", answer.finish);
  put("model", answer.model);
  put("fingerprint", answer.fingerprint);
  put("message", answer.message);
  out["usage"] = usage_json(answer.usage);
  if (!answer.ids.empty()) out["ids"] = answer.ids;
  if (!answer.tokens.empty()) out["logprobs"] = logprobs_json(answer.tokens);
  if (!answer.prompt_tokens.empty()) out["prompt_logprobs"] = logprobs_json(answer.prompt_tokens);
  return out;
}

TeacherUsage answer_usage(const Json& json) {
  const auto usage = json.find("usage");
  return usage == json.end() ? TeacherUsage{} : usage_from_json(*usage);
}

TeacherAnswer answer_from_json(const Json& json) {
  TeacherAnswer out;
  out.ending = parse_ending(json_string(json, "ending", "journal"));
  const auto take = [&json](const char* name) { return json_string(json, name, "journal", ""); };
  out.text = take("text");
  out.reasoning = take("reasoning");
  if (const auto calls = json.find("tool_calls"); calls != json.end()) out.tool_calls = *calls;
  out.finish = take("finish");
  out.model = take("model");
  out.fingerprint = take("fingerprint");
  out.message = take("message");
  out.usage = answer_usage(json);
  if (const auto ids = json.find("ids"); ids != json.end())
    out.ids = ids->get<std::vector<std::int64_t>>();
  if (const auto found = json.find("logprobs"); found != json.end())
    out.tokens = logprobs_from_json(*found);
  if (const auto found = json.find("prompt_logprobs"); found != json.end())
    out.prompt_tokens = logprobs_from_json(*found);
  return out;
}

}  // namespace lancet
