#include "distill/teacher/transfer.h"

#include <strings.h>

#include <new>
#include <utility>

#include "core/error.h"
#include "distill/text/trim.h"

namespace lancet {
namespace {

using Failure = HttpResponse::Failure;

constexpr std::size_t kMaxHeaderBytes = 256 << 10;

std::size_t on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  Transfer::Now& now = transfer.now;
  if (now.response.body.size() + size > transfer.request.max_bytes) {
    now.too_large = true;
    return 0;  // ends the transfer: a decompression bomb grows no further
  }
  now.response.body.append(data, size);
  now.last_byte = std::chrono::steady_clock::now();
  now.got_byte = true;
  return size;
}

/// libcurl sends again by itself what failed on a connection it had kept. A request that costs
/// money is sent once; whether to repeat it is the owner's to say.
int on_send(void* self, char*, char*, int, int) {
  return ++static_cast<Transfer*>(self)->now.sends > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* self) {
  Transfer::Now& now = static_cast<Transfer*>(self)->now;
  now.header_bytes += size;
  if (now.header_bytes > kMaxHeaderBytes) {
    now.too_large = true;
    return 0;
  }
  const std::string_view line(data, size);
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return size;
  HttpResponse& out = now.response;
  const std::array<std::pair<std::string_view, std::string*>, 8> wanted{{
      {"content-type", &out.content_type},
      {"location", &out.location},
      {"retry-after", &out.retry_after},
      {"date", &out.date},
      {"x-ratelimit-reset-requests", &out.reset_requests},
      {"x-ratelimit-reset-tokens", &out.reset_tokens},
      {"x-ratelimit-remaining-requests", &out.remaining_requests},
      {"x-ratelimit-remaining-tokens", &out.remaining_tokens},
  }};
  for (const auto& [name, place] : wanted) {
    if (name.size() == colon && ::strncasecmp(line.data(), name.data(), colon) == 0)
      *place = trim(line.substr(colon + 1));
  }
  return size;
}

template <typename T>
void set(CURL* easy, CURLoption option, T value) {
  if (curl_easy_setopt(easy, option, value) != CURLE_OK)
    fail(ErrorKind::kInternal, "http", "libcurl refused an option");
}

bool is_loopback(const std::string& origin) {
  return origin.find("://127.") != origin.npos || origin.find("://localhost:") != origin.npos ||
         origin.find("://[::1]") != origin.npos;
}

void add_header(curl_slist*& headers, const std::string& line) {
  curl_slist* longer = curl_slist_append(headers, line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  headers = longer;
}

void set_safety(CURL* easy, const HttpOptions& options, const HttpRequest& request) {
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout * 1000));
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout * 1000));
  set(easy, CURLOPT_FRESH_CONNECT, request.fresh ? 1L : 0L);
  set(easy, CURLOPT_FORBID_REUSE, request.fresh ? 1L : 0L);
  if (!options.ca_file.empty()) set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (is_loopback(url_origin(request.url))) set(easy, CURLOPT_PROXY, "");
}

}  // namespace

Transfer::Transfer(const HttpOptions& options, HttpRequest its)
    : easy(curl_easy_init()), request(std::move(its)) {
  if (easy == nullptr) throw std::bad_alloc();
  set_up(options);
  set_body();
}

Transfer::~Transfer() {
  curl_easy_cleanup(easy);
  curl_slist_free_all(headers);
}

bool Transfer::fits(const HttpRequest& other) const {
  return request.url == other.url && request.secret == other.secret &&
         request.timeout == other.timeout && request.fresh == other.fresh &&
         request.body.empty() == other.body.empty();
}

void Transfer::use_for(HttpRequest next) {
  request = std::move(next);
  now = {};
  error[0] = 0;
  set_body();
}

void Transfer::set_up(const HttpOptions& options) {
  set_safety(easy, options, request);
  set(easy, CURLOPT_URL, request.url.c_str());
  set(easy, CURLOPT_USERAGENT, "lancet");
  set(easy, CURLOPT_ERRORBUFFER, error.data());
  set(easy, CURLOPT_WRITEFUNCTION, &on_body);
  set(easy, CURLOPT_WRITEDATA, this);
  set(easy, CURLOPT_HEADERFUNCTION, &on_header);
  set(easy, CURLOPT_HEADERDATA, this);
  set(easy, CURLOPT_PREREQFUNCTION, &on_send);
  set(easy, CURLOPT_PREREQDATA, this);
  set(easy, CURLOPT_PRIVATE, this);
  if (!request.secret.empty()) add_header(headers, "Authorization: Bearer " + request.secret);
  if (!request.body.empty()) {
    add_header(headers, "Content-Type: application/json");
    add_header(headers, "Expect:");  // no waiting for "100 Continue"
    set(easy, CURLOPT_POST, 1L);
  }
  set(easy, CURLOPT_HTTPHEADER, headers);
}

void Transfer::set_body() const {
  const std::string& body = request.body;
  if (body.empty()) return;
  set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  set(easy, CURLOPT_POSTFIELDS, body.c_str());
}

std::string Transfer::message(CURLcode code) const {
  if (code == CURLE_OK) return {};
  if (code == CURLE_ABORTED_BY_CALLBACK) return "the connection was closed before an answer";
  if (now.idle) return "no byte for the idle timeout";
  if (now.too_large) return "the response is larger than allowed";
  return error[0] != 0 ? error.data() : curl_easy_strerror(code);
}

HttpResponse::Failure Transfer::failure(CURLcode code) const {
  if (now.too_large) return Failure::kTooLarge;
  if (now.idle) return Failure::kTimeout;
  switch (code) {
    case CURLE_OK:
      return Failure::kNone;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Failure::kConnect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure::kTls;
    case CURLE_OPERATION_TIMEDOUT:
      return Failure::kTimeout;
    case CURLE_ABORTED_BY_CALLBACK:  // on_send
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      return Failure::kReset;
    default:
      return Failure::kOther;
  }
}

}  // namespace lancet
