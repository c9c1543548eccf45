#include "surgery/locate/arrays.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {
namespace {

std::u32string code_points(const std::string& text) {
  const std::string valid = utf8_lossy(text);
  std::u32string out;
  for (std::size_t at = 0; at < valid.size();) out += next_code_point(valid, at);
  return out;
}

}  // namespace

void Arrays::keep(const std::string& name, const std::string& descr,
                  std::vector<std::int64_t> shape, std::string bytes) {
  const std::string& kept = bytes_.emplace_back(std::move(bytes));
  outputs_.push_back({name, descr, std::move(shape), std::as_bytes(std::span(kept))});
}

void Arrays::add(const std::string& name, const at::Tensor& value) {
  const bool whole = !at::isFloatingType(value.scalar_type());
  const at::Tensor plain = value.to(at::kCPU, whole ? at::kLong : at::kDouble).contiguous();
  keep(name, whole ? "<i8" : "<f8", plain.sizes().vec(),
       {static_cast<const char*>(plain.const_data_ptr()), plain.nbytes()});
}

void Arrays::add(const std::string& name, double value) {
  add(name, at::scalar_tensor(value, at::kDouble));
}

void Arrays::add(const std::string& name, std::int64_t value) {
  add(name, at::scalar_tensor(value, at::kLong));
}

void Arrays::add(const std::string& name, const std::string& text) {
  add(name, std::vector<std::string>{text});
  outputs_.back().shape.clear();
}

void Arrays::add(const std::string& name, const std::vector<std::string>& texts) {
  std::vector<std::u32string> decoded;
  std::size_t longest = 1;
  for (const std::string& text : texts) {
    decoded.push_back(code_points(text));
    longest = std::max(longest, decoded.back().size());
  }
  std::string bytes(texts.size() * longest * 4, '\0');
  for (std::size_t i = 0; i < decoded.size(); ++i)
    std::memcpy(bytes.data() + i * longest * 4, decoded[i].data(), decoded[i].size() * 4);
  keep(name, fmt::format("<U{}", longest), {static_cast<std::int64_t>(texts.size())},
       std::move(bytes));
}

}  // namespace lancet
