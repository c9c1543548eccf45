// logprobs_json, logprobs_from_json and logprobs_problem of distill/teacher/answer.h: columns
// instead of the wire's dictionaries, which take ten times the room.

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/base64.h"
#include "core/error.h"
#include "core/text.h"
#include "distill/teacher/answer.h"

namespace lancet {
namespace {

using Alternative = TeacherToken::Alternative;

/// Rounding of the float32 that servers write may lift a sum of probabilities this far above 1.
constexpr double kMassSlack = 1e-3;
constexpr std::size_t kMostTokens = 1U << 24, kMostBest = 1U << 20;

template <typename T>
std::string pack(const std::vector<T>& values) {
  return encode_base64({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

template <typename T>
std::vector<T> unpack(const Json& json, const char* name, std::size_t count) {
  const auto bytes = decode_base64(json_string(json, name, "logprobs"));
  if (!bytes || bytes->size() != count * sizeof(T))
    fail(ErrorKind::kInput, "journal", std::string("logprobs: damaged column ") + name);
  std::vector<T> out(count);
  if (count > 0) std::memcpy(out.data(), bytes->data(), bytes->size());
  return out;
}

Json text_json(const std::string& bytes) {
  if (!find_invalid_utf8(bytes)) return bytes;
  Json out = Json::array();
  for (const char c : bytes) out.push_back(static_cast<unsigned char>(c));
  return out;
}

std::string text_from_json(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  std::string out;
  for (const Json& byte : json) out += static_cast<char>(byte.get<unsigned>());
  return out;
}

bool has_ids(const std::vector<TeacherToken>& tokens) {
  return std::all_of(tokens.begin(), tokens.end(), [](const TeacherToken& token) {
    return token.id >= 0 && std::all_of(token.top.begin(), token.top.end(),
                                        [](const Alternative& each) { return each.id >= 0; });
  });
}

}  // namespace

Json logprobs_json(const std::vector<TeacherToken>& tokens) {
  std::size_t width = 0;
  for (const TeacherToken& token : tokens) width = std::max(width, token.top.size());
  std::vector<std::int32_t> ids, top_ids;
  std::vector<float> values, top_values;
  for (const TeacherToken& token : tokens) {
    ids.push_back(static_cast<std::int32_t>(token.id));
    values.push_back(static_cast<float>(token.logprob));
    for (std::size_t k = 0; k < width; ++k) {
      const bool used = k < token.top.size();
      top_ids.push_back(used ? static_cast<std::int32_t>(token.top[k].id) : -1);
      top_values.push_back(used ? static_cast<float>(token.top[k].logprob)
                                : -std::numeric_limits<float>::infinity());
    }
  }
  Json out{{"tokens", tokens.size()}, {"top", width}, {"logprobs", pack(values)}};
  if (width > 0) out["top_logprobs"] = pack(top_values);
  if (has_ids(tokens)) {
    out["ids"] = pack(ids);
    if (width > 0) out["top_ids"] = pack(top_ids);
    return out;
  }
  Json& texts = out["texts"] = Json::array();
  for (const TeacherToken& token : tokens) texts.push_back(text_json(token.bytes));
  Json& top_texts = out["top_texts"] = Json::array();
  for (const TeacherToken& token : tokens) {
    Json row = Json::array();
    for (const Alternative& each : token.top) row.push_back(text_json(each.bytes));
    top_texts.push_back(std::move(row));
  }
  return out;
}

std::vector<TeacherToken> logprobs_from_json(const Json& json) {
  const auto count = static_cast<std::size_t>(json_int(json, "tokens", "logprobs"));
  const auto width = static_cast<std::size_t>(json_int(json, "top", "logprobs"));
  if (count > kMostTokens || width > kMostBest)
    fail(ErrorKind::kInput, "journal", "logprobs: more tokens than any answer has");
  const bool with_ids = json.contains("ids");
  const auto values = unpack<float>(json, "logprobs", count);
  std::vector<float> top_values;
  std::vector<std::int32_t> ids, top_ids;
  if (width > 0) top_values = unpack<float>(json, "top_logprobs", count * width);
  if (with_ids) ids = unpack<std::int32_t>(json, "ids", count);
  if (with_ids && width > 0) top_ids = unpack<std::int32_t>(json, "top_ids", count * width);
  std::vector<TeacherToken> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    out[i].logprob = values[i];
    out[i].id = with_ids ? ids[i] : -1;
    if (!with_ids) out[i].bytes = text_from_json(json.at("texts").at(i));
    const std::size_t used = with_ids ? width : json.at("top_texts").at(i).size();
    if (used > width)
      fail(ErrorKind::kInput, "journal", "logprobs: more alternatives than columns");
    for (std::size_t k = 0; k < used; ++k) {
      if (with_ids && top_ids[i * width + k] < 0) {
        if (top_values[i * width + k] > -std::numeric_limits<float>::infinity())
          fail(ErrorKind::kInput, "journal", "logprobs: a probability of no token among the best");
        break;
      }
      Alternative each{.logprob = top_values[i * width + k]};
      if (with_ids) each.id = top_ids[i * width + k];
      if (!with_ids) each.bytes = text_from_json(json.at("top_texts").at(i).at(k));
      out[i].top.push_back(std::move(each));
    }
  }
  return out;
}

std::optional<std::string> logprobs_problem(const std::vector<TeacherToken>& tokens) {
  constexpr std::int64_t kMostId = std::numeric_limits<std::int32_t>::max();
  if (tokens.size() > kMostTokens) return "more tokens than any answer has";
  for (const TeacherToken& token : tokens) {
    if (token.logprob > kMassSlack) return fmt::format("{} is no log probability", token.logprob);
    if (token.id > kMostId) return fmt::format("{} is no token", token.id);
    if (token.top.size() > kMostBest) return "more alternatives than any vocabulary has";
    double mass = 0;
    for (const Alternative& each : token.top) {
      if (std::isnan(each.logprob) || each.logprob > kMassSlack)
        return fmt::format("{} is no log probability", each.logprob);
      if (each.id > kMostId) return fmt::format("{} is no token", each.id);
      mass += std::exp(each.logprob);
    }
    if (mass > 1 + kMassSlack) return fmt::format("probabilities of one token sum to {:.4f}", mass);
  }
  return std::nullopt;
}

}  // namespace lancet
