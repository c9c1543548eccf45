// Arithmetic with Python's meaning: int64 that refuses to overflow, floor division, text
// repetition.

#include <cmath>

#include "formats/template/print.h"
#include "formats/template/runtime.h"

namespace lancet::jinja {
namespace {

constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

[[noreturn]] void unsupported(Runtime& rt, Operator op, const Value& a, const Value& b) {
  if (a.is_undefined()) fail_undefined(rt, a);
  if (b.is_undefined()) fail_undefined(rt, b);
  rt.type_error("unsupported operand type(s) for " + std::string(kSymbols[static_cast<int>(op)]) +
                ": '" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

[[noreturn]] void overflow(Runtime& rt) { rt.error("OverflowError: integer beyond 64 bits"); }
[[noreturn]] void zero_division(Runtime& rt) { rt.error("ZeroDivisionError: division by zero"); }

std::int64_t floor_divide(Runtime& rt, std::int64_t a, std::int64_t b) {
  if (b == 0) zero_division(rt);
  if (b == -1) {
    std::int64_t out = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, a, &out)) overflow(rt);
    return out;
  }
  const std::int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
}

std::int64_t floor_modulo(Runtime& rt, std::int64_t a, std::int64_t b) {
  if (b == 0) zero_division(rt);
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/// Quotient and remainder of floats as Python's divmod makes them.
std::pair<double, double> float_divmod(Runtime& rt, double a, double b) {
  if (b == 0) zero_division(rt);
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0) {
    if ((b < 0) != (mod < 0)) {
      mod += b;
      div -= 1;
    }
  } else {
    mod = std::copysign(0.0, b);
  }
  if (div == 0) return {std::copysign(0.0, a / b), mod};
  double whole = std::floor(div);
  if (div - whole > 0.5) whole += 1;
  return {whole, mod};
}

Value integer_power(Runtime& rt, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) rt.error("ZeroDivisionError: 0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow(rt);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow(rt);
  }
  return Value::integer(result);
}

Value integers(Runtime& rt, Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  bool failed = false;
  switch (op) {
    case Operator::kAdd:
      failed = __builtin_add_overflow(a, b, &out);
      break;
    case Operator::kSub:
      failed = __builtin_sub_overflow(a, b, &out);
      break;
    case Operator::kMul:
      failed = __builtin_mul_overflow(a, b, &out);
      break;
    case Operator::kDiv:
      if (b == 0) zero_division(rt);
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDiv:
      out = floor_divide(rt, a, b);
      break;
    case Operator::kMod:
      out = floor_modulo(rt, a, b);
      break;
    case Operator::kPow:
      return integer_power(rt, a, b);
  }
  if (failed) overflow(rt);
  return Value::integer(out);
}

Value reals(Runtime& rt, Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSub:
      return Value::real(a - b);
    case Operator::kMul:
      return Value::real(a * b);
    case Operator::kDiv:
      if (b == 0) zero_division(rt);
      return Value::real(a / b);
    case Operator::kFloorDiv:
      return Value::real(float_divmod(rt, a, b).first);
    case Operator::kMod:
      return Value::real(float_divmod(rt, a, b).second);
    case Operator::kPow:
      break;
  }
  if (a == 0 && b < 0) zero_division(rt);
  const double power = std::pow(a, b);
  if (std::isnan(power) && !std::isnan(a) && !std::isnan(b))
    rt.error("complex numbers are not supported");
  if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
    rt.error("OverflowError: numerical result out of range");
  }
  return Value::real(power);
}

/// text * count and list * count.
Value repeat(Runtime& rt, const Value& what, std::int64_t count) {
  const auto times = static_cast<std::uint64_t>(count < 0 ? 0 : count);
  const std::uint64_t size = what.is_string() ? what.text().size() : what.as<List>().items.size();
  std::uint64_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = UINT64_MAX;
  rt.check_size(total);
  if (what.is_string()) {
    std::string out;
    out.reserve(total);
    if (total > 0) out = what.text();
    while (out.size() < total) out.append(out, 0, total - out.size());  // twice as much each time
    return rt.string(std::move(out), what.str().markup);
  }
  rt.step(total);
  rt.memory().grow(total * sizeof(Value));
  std::vector<Value> items;
  items.reserve(total);
  const auto& source = what.as<List>().items;
  for (std::uint64_t i = 0; i < times && size > 0; ++i)
    items.insert(items.end(), source.begin(), source.end());
  rt.memory().shrink(total * sizeof(Value));
  return rt.list(std::move(items), what.kind());
}

Value concatenate(Runtime& rt, const Value& a, const Value& b) {
  if (a.is_string()) {
    rt.check_size(a.text().size() + b.text().size());
    const bool markup = a.str().markup || b.str().markup;
    const auto part = [&](const Value& v) {
      return markup && !v.str().markup ? escape_html(rt, v.text()) : std::string(v.text());
    };
    return rt.string(part(a) + part(b), markup);
  }
  const auto& x = a.as<List>().items;
  const auto& y = b.as<List>().items;
  rt.step(x.size() + y.size());
  rt.memory().grow((x.size() + y.size()) * sizeof(Value));
  std::vector<Value> items(x);
  items.insert(items.end(), y.begin(), y.end());
  rt.memory().shrink(items.size() * sizeof(Value));
  return rt.list(std::move(items), a.kind());
}

}  // namespace

Value binary(Runtime& rt, Operator op, const Value& a, const Value& b) {
  rt.step();
  if (a.is_integral() && b.is_integral()) return integers(rt, op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return reals(rt, op, a.number(), b.number());
  const bool a_sequence = a.is_string() || a.is_array();
  const bool b_sequence = b.is_string() || b.is_array();
  if (op == Operator::kAdd && a_sequence && a.kind() == b.kind()) return concatenate(rt, a, b);
  if (op == Operator::kMul && a_sequence && b.is_integral()) return repeat(rt, a, b.as_int());
  if (op == Operator::kMul && b_sequence && a.is_integral()) return repeat(rt, b, a.as_int());
  if (op == Operator::kMod && a.is_string()) {
    return rt.string(format_percent(rt, a.text(), b), a.str().markup);
  }
  unsupported(rt, op, a, b);
}

Value negate(Runtime& rt, const Value& value, bool minus) {
  if (value.is_undefined()) fail_undefined(rt, value);
  if (value.is(Kind::kFloat)) return Value::real(minus ? -value.as_real() : value.as_real());
  if (!value.is_integral()) {
    rt.type_error(std::string("bad operand type for unary ") + (minus ? "-" : "+") + ": '" +
                  std::string(type_name(value)) + "'");
  }
  return integers(rt, minus ? Operator::kSub : Operator::kAdd, 0, value.as_int());
}

}  // namespace lancet::jinja
