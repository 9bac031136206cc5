// Names that may be made: UTF-8 (RFC 3629) without control characters. With others there is no listing that all clients
// read: XRootD's has a name a line. Nor `?`, at which XRootD ends a path, nor names that its listings cut off. Included by
// plug-ins; written by Farmlet.

#pragma once

namespace names {

// The next character, which is stepped over; negative if it is no UTF-8.
inline long read_character(const unsigned char *&at) {
    static const long least[] = {0, 0x80, 0x800, 0x10000};
    long first = *at++;
    int more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    if (more < 0) return -1;
    long character = more ? first & (0x3f >> more) : first;
    for (int count = 0; count < more; count++) {
        if ((*at & 0xc0) != 0x80) return -1;
        character = character << 6 | (*at++ & 0x3f);
    }
    bool half = character >= 0xd800 && character < 0xe000;  // of a pair of UTF-16
    return character < least[more] || character > 0x10ffff || half ? -1 : character;
}

constexpr long LONGEST = 254;  // bytes

// Whether all of a path may be names of something new.
inline bool are_fit(const char *path) {
    auto at = reinterpret_cast<const unsigned char *>(path), start = at;
    while (*at) {
        long character = read_character(at);
        if (character < 0x20 || (character >= 0x7f && character < 0xa0) || character == '?') return false;
        if (character == '/') start = at;
        if (at - start > LONGEST) return false;
    }
    return true;
}

constexpr const char *UNFIT = "a name is UTF-8 of at most 254 bytes, without control characters and without a question mark";

}  // namespace names
