// Block `teacher` of a job file.

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/text.h"
#include "distill/job_reader.h"
#include "distill/teacher/http.h"

namespace lancet {
namespace {

constexpr std::uint64_t kMuch = 1'000'000'000'000;

/// Sampling fields that are numbers: name in the job and on the wire, range.
struct SamplingNumber {
  std::string_view name;
  double least, most;
  bool integer;
};
constexpr std::array<SamplingNumber, 10> kNumbers{{{"temperature", 0, 2, false},
                                                   {"top_p", 0, 1, false},
                                                   {"min_p", 0, 1, false},
                                                   {"top_k", 0, 1e9, true},
                                                   {"max_tokens", 1, 1e7, true},
                                                   {"max_completion_tokens", 1, 1e7, true},
                                                   {"presence_penalty", -2, 2, false},
                                                   {"frequency_penalty", -2, 2, false},
                                                   {"repetition_penalty", 0.01, 10, false},
                                                   {"min_tokens", 0, 1e7, true}}};

/// Fields that the job says elsewhere, or that decide what an answer is.
constexpr std::array<std::string_view, 10> kOurs{
    "model", "messages", "prompt",       "stream", "n",
    "seed",  "logprobs", "top_logprobs", "echo",   "stream_options"};

}  // namespace

Json JobReader::sampling(const Node& node) const {
  std::vector<std::string_view> known{"stop", "stop_token_ids"};
  for (const SamplingNumber& each : kNumbers) known.push_back(each.name);
  keys(node, known);
  // Servers lay a model's own generation_config.json under what is not said: so everything is said.
  Json out{{"temperature", 0.7}, {"top_p", 1.0}, {"max_tokens", 1024}};
  for (const SamplingNumber& each : kNumbers) {
    const Node* found = node.find(each.name);
    if (found == nullptr) continue;
    const double value = number(*found, each.name, each.least, each.most);
    if (each.integer) {
      out[each.name] = whole(*found, each.name, 0, kMuch);
    } else {
      out[each.name] = value;
    }
  }
  if (out.contains("max_completion_tokens"))
    out.erase("max_tokens");  // the newer name of one limit
  if (const Node* stop = node.find("stop")) out["stop"] = texts(*stop, "stop");
  if (const Node* ids = node.find("stop_token_ids")) out["stop_token_ids"] = json(*ids);
  return out;
}

void JobReader::limits(const Node& node, TeacherBlock& out) const {
  keys(node, {"concurrency", "requests_per_minute", "tokens_per_minute", "attempts", "timeout",
              "idle_timeout", "latency_target", "give_up_after", "start_timeout",
              "max_response_bytes", "max_requests", "max_tokens", "max_usd"});
  const auto count = [&](const char* name, auto& place, std::uint64_t least, std::uint64_t most) {
    if (const Node* found = node.find(name))
      place = static_cast<std::decay_t<decltype(place)>>(whole(*found, name, least, most));
  };
  const auto seconds = [&](const char* name, double& place, double least) {
    if (const Node* found = node.find(name)) place = number(*found, name, least, 1e6);
  };
  count("concurrency", out.limits.concurrency, 1, 4096);
  count("requests_per_minute", out.limits.requests_per_minute, 1, kMuch);
  count("tokens_per_minute", out.limits.tokens_per_minute, 1, kMuch);
  count("attempts", out.limits.attempts, 1, 1000);
  seconds("timeout", out.limits.timeout, 0.1);
  seconds("idle_timeout", out.limits.idle_timeout, 0.1);
  seconds("latency_target", out.limits.latency_target, 0);
  seconds("give_up_after", out.limits.give_up_after, 1);
  out.limits.start_timeout = std::min(out.limits.start_timeout, out.limits.give_up_after);
  seconds("start_timeout", out.limits.start_timeout, 1);
  count("max_response_bytes", out.limits.max_response_bytes, 1024, 1ULL << 32);
  count("max_requests", out.caps.requests, 1, kMuch);
  count("max_tokens", out.caps.tokens, 1, kMuch);
  if (const Node* found = node.find("max_usd")) out.caps.usd = number(*found, "max_usd", 1e-6, 1e9);
}

TokenPrices JobReader::prices(const Node& node) const {
  keys(node, {"input", "output", "cached_input"});
  TokenPrices out;
  if (const Node* found = node.find("input")) out.input = number(*found, "input", 0, 1e6);
  if (const Node* found = node.find("output")) out.output = number(*found, "output", 0, 1e6);
  if (const Node* found = node.find("cached_input"))
    out.cached_input = number(*found, "cached_input", 0, 1e6);
  return out;
}

/// A cap on money without both prices would stop nothing.
void JobReader::check_priced(const Node& node, const BudgetCaps& caps) const {
  if (caps.usd == 0) return;
  const Node* const given = node.find("prices");
  const auto price = [&](const char* name) {
    const Node* const found = given != nullptr ? given->find(name) : nullptr;
    return found != nullptr ? found->number() : std::nullopt;
  };
  const auto input = price("input"), output = price("output");
  if (input && output && *input + *output > 0) return;
  refuse(*node.find("limits")->find("max_usd"),
         "limits: max_usd needs prices: expected prices.input and prices.output, of one above 0",
         "prices: {input: 3, output: 3}, in US dollars for a million tokens (--price-input, "
         "--price-output)");
}

void JobReader::url(const Node& node, TeacherBlock& out) const {
  for (std::string each : texts(node, "url")) {
    if (url_origin(each).empty())
      refuse(node,
             fmt::format("url: expected http(s)://HOST[:PORT]/v1 without name or password, "
                         "found '{}'",
                         printable(each.substr(0, each.find("://") + 3), 20) + "..."),
             "keys come from the environment: api_key_env");
    while (each.ends_with('/')) each.pop_back();
    out.urls.push_back(std::move(each));
  }
}

void JobReader::logprobs(const Node& node, TeacherBlock& out) const {
  // false, true (of the sampled token), or how many alternatives
  if (const auto flag = node.boolean()) {
    out.logprobs = *flag;
    return;
  }
  out.top_logprobs = static_cast<std::uint32_t>(whole(node, "logprobs", 0, 1000));
  out.logprobs = true;
}

TeacherBlock JobReader::teacher(const Node& node) const {
  keys(node, {"url", "model", "api_key_env", "ca_file", "licence", "stream", "send_seed",
              "logprobs", "sampling", "extra", "limits", "prices"});
  TeacherBlock out;
  const Node* address = node.find("url");
  if (address == nullptr) refuse(node, "teacher: 'url' is missing");
  url(*address, out);
  const Node* model = node.find("model");
  if (model == nullptr) refuse(node, "teacher: 'model' is missing");
  out.model = text(*model, "model");
  if (const Node* found = node.find("api_key_env")) {
    out.api_key_env = text(*found, "api_key_env");
    const bool is_name =
        out.api_key_env.find_first_not_of(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
    if (!is_name)  // perhaps a key itself: not repeated here
      refuse(*found, "api_key_env: expected the name of an environment variable",
             "keys never stand in a file");
  }
  if (const Node* found = node.find("ca_file")) out.ca_file = path(*found, "ca_file").string();
  if (const Node* found = node.find("licence")) out.licence = text(*found, "licence");
  if (const Node* found = node.find("stream")) out.stream = flag(*found, "stream");
  if (const Node* found = node.find("send_seed")) out.send_seed = flag(*found, "send_seed");
  if (const Node* found = node.find("logprobs")) logprobs(*found, out);
  const Node* sampled = node.find("sampling");
  Node empty;
  empty.kind = Node::Kind::kMapping;
  out.sampling = sampling(sampled != nullptr ? *sampled : empty);
  if (const Node* found = node.find("extra")) {
    out.extra = json(*found);
    if (!out.extra.is_object()) refuse(*found, "extra: expected a mapping");
    for (const std::string_view name : kOurs) {
      if (out.extra.contains(name))
        refuse(*found, fmt::format("extra: '{}' is said elsewhere in the job", name));
    }
  }
  if (const Node* found = node.find("limits")) limits(*found, out);
  if (const Node* found = node.find("prices")) out.prices = prices(*found);
  check_priced(node, out.caps);
  return out;
}

}  // namespace lancet
