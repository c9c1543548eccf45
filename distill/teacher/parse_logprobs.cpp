// Log probabilities as servers write them (distill/teacher/parse.h).

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base64.h"
#include "core/error.h"
#include "distill/teacher/parse.h"

namespace lancet {
namespace {

using Alternative = TeacherToken::Alternative;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double number_of(const Json& value) {
  if (value.is_null()) return kNone;
  if (!value.is_number()) fail(ErrorKind::kInput, "teacher", "logprobs: expected a number");
  return value.get<double>();
}

/// vLLM's return_tokens_as_token_ids writes "token_id:123" for a token.
std::int64_t id_in(std::string_view text) {
  constexpr std::string_view kPrefix = "token_id:";
  std::int64_t id = -1;
  if (text.starts_with(kPrefix))
    std::from_chars(text.data() + kPrefix.size(), text.data() + text.size(), id);
  return id;
}

std::string bytes_in(const Json& entry) {
  const auto bytes = entry.find("bytes");
  if (bytes == entry.end() || !bytes->is_array())
    return json_string(entry, "token", "logprobs", "");
  std::string out;
  for (const Json& byte : *bytes) out += static_cast<char>(byte.get<unsigned>());
  return out;
}

Alternative alternative_in(const Json& entry) {
  Alternative out{bytes_in(entry), json_int(entry, "id", "logprobs", -1), kNone};
  if (out.id < 0) out.id = id_in(json_string(entry, "token", "logprobs", ""));
  if (const auto value = entry.find("logprob"); value != entry.end())
    out.logprob = number_of(*value);
  return out;
}

void sort_top(std::vector<Alternative>& top) {
  std::stable_sort(top.begin(), top.end(), [](const Alternative& a, const Alternative& b) {
    return a.logprob > b.logprob;
  });
}

std::vector<TeacherToken> chat_form(const Json& content) {
  std::vector<TeacherToken> out;
  for (const Json& entry : content) {
    const Alternative own = alternative_in(entry);
    TeacherToken token{own.bytes, own.id, own.logprob, {}};
    if (const auto top = entry.find("top_logprobs"); top != entry.end() && top->is_array()) {
      for (const Json& each : *top) token.top.push_back(alternative_in(each));
    }
    sort_top(token.top);
    out.push_back(std::move(token));
  }
  return out;
}

/// A column of a packed block: base64 of `count` little-endian values of four bytes.
template <typename T>
std::vector<T> packed_column(const Json& block, const char* name, const char* type,
                             std::string_view wanted, std::size_t count) {
  static_assert(sizeof(T) == 4);
  const auto bytes = decode_base64(json_string(block, name, "logprobs"));
  if (json_string(block, type, "logprobs") != wanted || !bytes || bytes->size() != 4 * count)
    fail(ErrorKind::kInput, "teacher", std::string("logprobs: damaged packed column ") + name);
  std::vector<T> out(count);
  if (count > 0) std::memcpy(out.data(), bytes->data(), bytes->size());
  return out;
}

/// Adds the alternatives of one packed block, whose first position is `first`; returns the next.
std::size_t unpack(const Json& block, std::size_t first, std::vector<TeacherToken>& tokens) {
  const auto shape = block.at("shape").get<std::vector<std::size_t>>();
  const bool fits = shape.size() == 2 && shape[0] <= tokens.size() - first &&
                    shape[1] <= std::numeric_limits<std::uint16_t>::max();
  if (!fits) fail(ErrorKind::kInput, "teacher", "logprobs: a packed block of another shape");
  const std::size_t width = shape[1], count = shape[0] * width;
  const auto ids =
      packed_column<std::int32_t>(block, "token_ids_b64", "token_ids_dtype", "<i4", count);
  const auto values = packed_column<float>(block, "logprobs_b64", "logprobs_dtype", "<f4", count);
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(values[i]) || ids[i] < 0)
      fail(ErrorKind::kInput, "teacher", "logprobs: a packed block without values");
    tokens[first + i / width].top.push_back({.id = ids[i], .logprob = values[i]});
  }
  return first + shape[0];
}

/// One block, or those of a stream's chunks one after the other.
void unpack_all(const Json& packed, std::vector<TeacherToken>& tokens) {
  std::size_t at = 0;
  if (packed.is_object()) at = unpack(packed, 0, tokens);
  for (std::size_t i = 0; packed.is_array() && i < packed.size(); ++i)
    at = unpack(packed[i], at, tokens);
  if (at != tokens.size())
    fail(ErrorKind::kInput, "teacher", "logprobs: packed blocks for another number of tokens");
  for (TeacherToken& token : tokens) sort_top(token.top);
}

std::vector<TeacherToken> completions_form(const Json& logprobs) {
  const Json& tokens = logprobs.at("tokens");
  const Json& values = logprobs.at("token_logprobs");
  const auto packed = logprobs.find("packed_top_logprobs");
  const bool is_packed = packed != logprobs.end() && packed->is_structured();
  const auto tops = logprobs.find("top_logprobs");
  const bool with_top = !is_packed && tops != logprobs.end() && tops->is_array();
  if (values.size() != tokens.size() || (with_top && tops->size() != tokens.size()))
    fail(ErrorKind::kInput, "teacher", "logprobs: columns of different length");
  std::vector<TeacherToken> out;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto text = tokens[i].get<std::string>();
    TeacherToken token{text, id_in(text), number_of(values[i]), {}};
    if (with_top && (*tops)[i].is_object()) {
      for (const auto& [name, value] : (*tops)[i].items())
        token.top.push_back({name, id_in(name), number_of(value)});
    }
    sort_top(token.top);
    out.push_back(std::move(token));
  }
  if (is_packed) unpack_all(*packed, out);
  return out;
}

}  // namespace

std::vector<TeacherToken> parse_logprobs(const Json& logprobs) {
  if (logprobs.is_null()) return {};
  if (const auto content = logprobs.find("content"); content != logprobs.end())
    return content->is_array() ? chat_form(*content) : std::vector<TeacherToken>{};
  if (logprobs.contains("tokens") && logprobs.contains("token_logprobs"))
    return completions_form(logprobs);
  fail(ErrorKind::kInput, "teacher", "logprobs: neither the chat nor the completions form");
}

std::vector<TeacherToken> parse_prompt_logprobs(const Json& list,
                                                const std::vector<std::int64_t>& ids) {
  std::vector<TeacherToken> out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    TeacherToken token{.id = i < ids.size() ? ids[i] : -1, .logprob = kNone};
    if (list[i].is_object()) {
      for (const auto& [name, entry] : list[i].items()) {
        Alternative each{json_string(entry, "decoded_token", "logprobs", ""), -1,
                         number_of(entry.at("logprob"))};
        std::from_chars(name.data(), name.data() + name.size(), each.id);
        if (each.id == token.id) {
          token.bytes = each.bytes;
          token.logprob = each.logprob;
        }
        token.top.push_back(std::move(each));
      }
    }
    sort_top(token.top);
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace lancet
