#include "formats/template/runtime.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "formats/template/print.h"

namespace lancet::jinja {

void fail_at(std::uint32_t line, const std::string& message) {
  fail(ErrorKind::kInput, "chat template",
       "line " + std::to_string(line) + ": " + printable(message, 2000));
}

void Memory::grow(std::uint64_t bytes) {
  if (bytes > limit_ || used_ > limit_ - bytes) {
    fail(ErrorKind::kInput, "chat template",
         "the values of the template need more than " + std::to_string(limit_) + " bytes",
         "a chat template that needs this much is broken or hostile");
  }
  used_ += bytes;
}

std::uint64_t Runtime::memory_limit(const TemplateLimits& limits) {
  constexpr std::uint64_t kLeast = 1ULL << 20;
  const std::uint64_t most = std::max(limits.output_bytes, kLeast);
  return most > (1ULL << 60) ? most : 4 * most;
}

void Runtime::out_of_steps() const {
  error("stopped after " + std::to_string(limits_.steps) + " steps");
}
void Runtime::too_large() const {
  error("a text grows beyond " + std::to_string(limits_.output_bytes) + " bytes");
}
void Runtime::too_deep() const { error("recursion too deep"); }

Value Runtime::string(std::string text, bool markup, std::vector<Span> spans) {
  check_size(text.size());
  step(3 + text.size() / 64);
  memory_.grow(text.size() + sizeof(Str));
  auto* str = new Str;
  str->text = std::move(text);
  str->memory = &memory_;
  str->markup = markup;
  str->spans = std::move(spans);
  return Value::adopt(str);
}

Value Runtime::list(std::vector<Value> items, Kind kind) {
  const std::uint64_t bytes = items.size() * sizeof(Value);
  return Value::object(&make<List>(bytes, kind, std::move(items)));
}

Dict& Runtime::dict() { return make<Dict>(0); }

void Sink::write(std::string_view more) {
  rt_.check_size(text.size() + more.size());
  rt_.touch(more.size());
  rt_.memory().grow(more.size());
  charged_ += more.size();
  text += more;
}

void Sink::write(const Value& value) {
  if (!value.is_string()) {
    if (!value.is_undefined()) write(to_text(rt_, value));
    return;
  }
  const std::uint64_t start = text.size();
  write(value.text());
  for (const auto& [from, to] : value.str().spans) spans.emplace_back(start + from, start + to);
}

Parameters::Parameters(Runtime& rt, const Arguments& arguments, std::string_view callee,
                       std::initializer_list<std::string_view> names, std::size_t required)
    : rt_(rt), callee_(callee), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names.size()) {
    rt.type_error(std::string(callee) + "() takes at most " + std::to_string(names.size()) +
                  " argument(s) (" + std::to_string(arguments.positional.size()) + " given)");
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i)
    values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto* at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) {
      rt.type_error(std::string(callee) + "() got an unexpected keyword argument '" +
                    std::string(name) + "'");
    }
    const auto index = static_cast<std::size_t>(at - names.begin());
    if (values_[index] != nullptr) {
      rt.type_error(std::string(callee) + "() got multiple values for argument '" +
                    std::string(name) + "'");
    }
    values_[index] = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) {
      rt.type_error(std::string(callee) + "() missing argument '" + std::string(names.begin()[i]) +
                    "'");
    }
  }
}

bool Parameters::flag(std::size_t index, bool fallback) const {
  return values_[index] == nullptr ? fallback : truthy(*values_[index]);
}

std::int64_t Parameters::integer(std::size_t index, std::int64_t fallback) const {
  if (values_[index] == nullptr) return fallback;
  if (values_[index]->is_undefined()) fail_undefined(rt_, *values_[index]);
  if (!values_[index]->is_integral()) {
    rt_.type_error(std::string(callee_) + "(): an integer is required, not '" +
                   std::string(type_name(*values_[index])) + "'");
  }
  return values_[index]->as_int();
}

std::string_view Parameters::text(std::size_t index, std::string_view fallback) const {
  if (values_[index] == nullptr) return fallback;
  if (!values_[index]->is_string()) {
    rt_.type_error(std::string(callee_) + "(): a string is required, not '" +
                   std::string(type_name(*values_[index])) + "'");
  }
  return values_[index]->text();
}

}  // namespace lancet::jinja
