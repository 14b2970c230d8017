// The part of Apple's Foundation that metal_device.mm uses, declared after its public documentation, for a check of our
// own code without a Mac. What is declared wrongly here is found by Apple's compiler only.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define API_AVAILABLE(...) __attribute__((availability(__VA_ARGS__)))

typedef long NSInteger;
typedef unsigned long NSUInteger;
typedef signed char BOOL;
typedef double CFTimeInterval;  // of CoreFoundation, which Foundation includes
#define YES ((BOOL)1)
#define NO ((BOOL)0)
#define nil nullptr

@class NSString;

__attribute__((objc_root_class))
@interface NSObject
+ (instancetype)new;
@end

@interface NSString : NSObject
+ (nullable instancetype)stringWithUTF8String:(const char*)bytes;
@property(readonly, nullable) const char* UTF8String;
- (BOOL)isEqualToString:(NSString*)other;
@end
@interface NSConstantString : NSString
@end

@interface NSError : NSObject
@property(readonly) NSInteger code;
@property(readonly) NSString* domain;
@property(readonly) NSString* localizedDescription;
@end

typedef struct {
  unsigned long state;
  id __unsafe_unretained _Nullable* _Nullable itemsPtr;
  unsigned long* _Nullable mutationsPtr;
  unsigned long extra[5];
} NSFastEnumerationState;
@interface NSArray<Element> : NSObject
- (NSUInteger)countByEnumeratingWithState:(NSFastEnumerationState*)state
                                  objects:(id __unsafe_unretained _Nullable[_Nonnull])buffer
                                    count:(NSUInteger)count;
@end

typedef struct {
  NSInteger majorVersion, minorVersion, patchVersion;
} NSOperatingSystemVersion;
@interface NSProcessInfo : NSObject
@property(class, readonly, strong) NSProcessInfo* processInfo;
@property(readonly) NSOperatingSystemVersion operatingSystemVersion;
@property(readonly) unsigned long long physicalMemory;
@end

NSUInteger NSPageSize(void);

@protocol OS_dispatch_data
@end
@protocol OS_dispatch_queue
@end
typedef NSObject<OS_dispatch_data>* dispatch_data_t;
typedef NSObject<OS_dispatch_queue>* dispatch_queue_t;
typedef void (^dispatch_block_t)(void);
#define DISPATCH_DATA_DESTRUCTOR_DEFAULT nullptr
extern "C" dispatch_data_t dispatch_data_create(const void* bytes, size_t size, dispatch_queue_t queue,
                                                dispatch_block_t destructor);
